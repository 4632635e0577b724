"""Every `discern` verb: parse, call one stage, print."""

import contextlib
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from app import console
from pipelines.errors import DiscernError

if TYPE_CHECKING:
    from app.tls import Files

SCIENCE = {"piq", "safetensors", "skimage", "sklearn", "spandrel", "threadpoolctl", "torch", "torchvision"}
INTERRUPTED = 130


commands = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)


def main() -> None:
    """The `discern` command: exit status 2 and one message for a user's mistake, 130 when interrupted."""
    try:
        commands()
    except DiscernError as error:
        _stop(str(error))
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in SCIENCE:
            raise
        _stop(f"{error.name} is not installed: this command needs pip install 'discern[pipelines]'")
    except SystemExit as stop:
        if stop.code == INTERRUPTED:
            console.err.print("stopped; what is finished is kept: run the same command again to continue")
        raise


def _stop(message: str) -> NoReturn:
    for line in message.splitlines():
        console.err.print("error:", style="bold red", end=" ")
        console.err.print(line, markup=False, soft_wrap=True)
    sys.exit(2)


@commands.callback()
def discern() -> None:
    """Rank super-resolution methods by human preference, and calibrate a blind quality metric with the ranking."""


@commands.command()
def init(
    directory: Annotated[Path, typer.Argument(help="Where to write study.toml; made if it does not exist.")],
) -> None:
    """Write a commented example study."""
    from app import example

    path = example.write(directory)
    console.out.print(f"wrote {path}", markup=False, soft_wrap=True)
    console.out.print(f"next: put low-resolution images into {directory / 'lr'}, edit the file, then", markup=False)
    console.out.print(f"  discern run {path}", markup=False, soft_wrap=True)


@commands.command()
def run(
    study: Annotated[Path, typer.Argument(help="The study file.")],
    engine: Annotated[
        str | None, typer.Option(help="local or ray, instead of what the study file says.", show_default=False)
    ] = None,
) -> None:
    """From LR images to selected pairs: ingest, super-resolution, selection. What is finished is not done again."""
    from pipelines import study as studies

    if engine not in (None, "local", "ray"):
        raise DiscernError(f"--engine: {engine!r} is not known; choose local or ray")
    studies.load(study)  # a mistake in it is said at once, not after the seconds that it takes to import the science
    from app import runs

    with console.progress_display() as progress:
        summary = runs.run(study, progress, engine="ray" if engine == "ray" else "local" if engine else None)
    console.print_problems(summary.problems, summary.end.left_out)
    for line in summary.lines():
        console.out.print(line, markup=False, soft_wrap=True)


method_commands = typer.Typer(pretty_exceptions_enable=False, invoke_without_command=True)
commands.add_typer(method_commands, name="methods", help="Super-resolution methods: which there are, what they need.")

StudyOption = Annotated[Path | None, typer.Option("--study", help="Judge by what this study file gives.")]


@method_commands.callback()
def list_methods(context: typer.Context, study: StudyOption = None) -> None:
    """List the methods of the catalogue: kind, licence, what is installed and what is missing."""
    from app import methods

    if context.invoked_subcommand is None:
        methods.show(console.out, study)


@method_commands.command("check")
def check_method(
    method: Annotated[str, typer.Argument(help="Its id in the catalogue.")],
    study: StudyOption = None,
    kind: Annotated[
        str | None,
        typer.Option(
            help="How it is to be run, such as external or folder; by default, its first way.", metavar="KIND"
        ),
    ] = None,
) -> None:
    """Say what still has to be done to run a method; exit status 1 where something is left to do."""
    from app import methods

    if not methods.show_check(console.out, method, study, kind):
        raise typer.Exit(1)


@commands.command()
def figures(
    study: Annotated[Path, typer.Argument(help="The study file.")],
    image: Annotated[
        list[str] | None,
        typer.Option(help="Stem of an LR image; by default the 12 that are in most selected pairs.", metavar="STEM"),
    ] = None,
    crop: Annotated[
        str | None,
        typer.Option(help="In LR pixels; by default where the methods disagree most.", metavar="X,Y,WIDTH,HEIGHT"),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder; by default `figures` in the workspace.")] = None,
) -> None:
    """Write figures: all outputs of an LR image with linked crops, as a page, and for print as PNG and PDF."""
    from app import crops
    from app import figures as writing

    place = None if crop is None else crops.parse(crop)
    with console.progress_display() as progress:
        written = writing.write(study, image or (), crop=place, out=out, progress=progress)
    for line in written.lines():
        console.out.print(line, markup=False, soft_wrap=True)


@commands.command()
def rank(
    votes: Annotated[Path, typer.Argument(help="Votes (CSV): winner,loser[,image][,subject][,group], and others.")],
    group: Annotated[str | None, typer.Option(help="Rank the votes of this group alone; all by default.")] = None,
    ridge: Annotated[float, typer.Option(help="Fit the posterior mode under N(0, 1/ridge).", show_default=True)] = 0.0,
    level: Annotated[float, typer.Option(help="Confidence of the intervals.")] = 0.95,
    votes_per_pair: Annotated[
        int | None, typer.Option(help="Votes behind each share, for a table of shares; found out by default.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write the ranking here as JSON, too.")] = None,
) -> None:
    """Print the global ranking that a table of votes implies, with intervals. Needs no study and no server."""
    from app import rankings
    from pipelines.ranking import stage, tables
    from pipelines.workspace import write_json

    table = tables.read(votes, votes_per_pair=votes_per_pair)
    ranking = stage.rank(table, group=group, ridge=ridge, level=level)
    console.out.print(rankings.table(ranking, console.out.width, ascii_only=console.out.options.ascii_only))
    console.out.print()
    for line in rankings.footnotes(ranking):
        console.out.print(line, markup=False, soft_wrap=True)
    if json is not None:
        write_json(json, ranking.as_dict())


@commands.command()
def plan(
    study: Annotated[Path, typer.Argument(help="The study file; its images need not be there.")],
    votes: Annotated[Path, typer.Option(help="A vote table (CSV) on its methods.")],
    subjects: Annotated[
        int | None, typer.Option(min=1, help="New people who will vote; by default, as many as have.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write the plans here as JSON, too.")] = None,
) -> None:
    """Say how many votes a method takes that is added to a finished study, or how to add one. Needs no server."""
    from app import planning
    from pipelines.workspace import write_json

    plans = planning.make(study, votes, subjects)
    planning.show(plans, study, console.out)
    if json is not None:
        write_json(json, plans.as_dict())


@commands.command()
def score(
    model: Annotated[Path, typer.Argument(help="A model's folder, such as workspace/models/calibrated.")],
    images: Annotated[list[Path], typer.Argument(help="Image files.")],
) -> None:
    """Print the predicted quality of images, tab-separated; higher is better."""
    from pipelines.calibration import model as models

    scores = models.score_files(models.load(model), images)
    for image, value in zip(images, scores, strict=True):
        typer.echo(f"{value:.6f}\t{image}")


@commands.command()
def demo(
    once: Annotated[bool, typer.Option("--once", help="Run the loop, print a summary, and exit.")] = False,
    directory: Annotated[Path, typer.Option(help="Where to put the study and all results.")] = Path("discern-demo"),
    json: Annotated[Path | None, typer.Option(help="With --once, write the summary here as JSON, too.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; another one if it is taken.")] = 8000,
) -> None:
    """The whole loop on real photographs, with simulated subjects, served in a browser. Downloads nothing."""
    if not once:
        from app.demo import site

        site.run(directory, host, port, console.say)
        return
    from app.demo import loop, summary
    from pipelines.workspace import write_json

    with console.progress_display() as progress:
        result = loop.run(directory, progress)
    summary.show(result, console.out)
    if json is not None:
        write_json(json, result.as_dict())


CertificateOption = Annotated[
    Path | None, typer.Option("--certificate", help="A lab's own certificate, PEM: serve https with it and --key.")
]
KeyOption = Annotated[Path | None, typer.Option("--key", help="The key of --certificate, PEM, without a password.")]


@commands.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for the whole network.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 for any that is free.")] = 8000,
    tls: Annotated[bool, typer.Option("--tls", help="Serve https with a certificate of the server's own.")] = False,
    certificate: CertificateOption = None,
    key: KeyOption = None,
) -> None:
    """Serve studies until Ctrl-C: web pages, worker, and a PostgreSQL of its own unless DATABASE_URL is set."""
    from app import config, serving

    serving.stop_on_sigterm()
    settings = config.load()
    secured = _given_files(certificate, key)
    if tls:
        secured = _own_files(settings.home.resolve(), host, secured is not None)
    try:
        with serving.running(settings, host=host, port=port, say=console.say, secured=secured) as server:
            console.say(f"Discern serves at {server.url}; Ctrl-C stops it")
            _offer_first_admin(server.database_url, server.url)
            server.supervisor.wait()
            raise DiscernError(server.supervisor.failure or "stopped")
    except KeyboardInterrupt:
        console.say("stopped")


@commands.command()
def web(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8000,
    fd: Annotated[int | None, typer.Option(hidden=True, help="A socket that is listened on already.")] = None,
    certificate: CertificateOption = None,
    key: KeyOption = None,
) -> None:
    """Serve the web pages alone, on the migrated database at DATABASE_URL; `discern serve` does this and the rest."""
    from app import children, config, web_server

    children.follow_parent()
    url, settings = _database_url("web"), config.load()
    secured = _given_files(certificate, key)
    if fd is None:
        scheme = "http" if secured is None else "https"
        _offer_first_admin(url, settings.public_url or f"{scheme}://{host}:{port}")
    web_server.run(url, settings, host, port, fd, secured)


@commands.command()
def worker(
    queue: Annotated[list[str] | None, typer.Option(help="Queue to work on: cpu or gpu; both by default.")] = None,
    gpu: Annotated[
        str | None, typer.Option(help="The one GPU that jobs may see, by number or UUID; start a worker for each.")
    ] = None,
) -> None:
    """Do jobs (outputs of pre-runs, calibrations), one at a time, from the database at DATABASE_URL; on any host."""
    from app import children, config
    from app.admins import jobs
    from app.admins import worker as workers

    unknown = set(queue or ()) - set(jobs.QUEUES)
    if unknown:
        raise DiscernError(f"--queue: {min(unknown)!r} is not known; choose {' or '.join(jobs.QUEUES)}")
    if gpu is not None and ("," in gpu or not gpu.strip()):
        raise DiscernError(f"--gpu: {gpu!r} is not one GPU; start a worker for each, such as --gpu 0 and --gpu 1")
    children.follow_parent()
    settings = config.load()
    url = _database_url("worker")
    environment = {"DATABASE_URL": url, "DISCERN_HOME": str(settings.home.resolve())}
    if gpu is not None:
        environment["CUDA_VISIBLE_DEVICES"] = gpu.strip()
    workers.run(url, [name for name in jobs.QUEUES if not queue or name in queue], environment)


@commands.command(hidden=True)
def job(number: int, attempt: int) -> None:
    """Do one attempt of a job; started by a worker."""
    from app import children, config, database
    from app.admins import jobs, work

    # Asked to stop, it ends what it has started, and keeps what is finished.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    children.follow_parent()
    # Superseded: whoever cancelled or took over the job has said so in its row.
    with contextlib.suppress(jobs.SupersededError):
        work.run(database.sessions(_database_url("job")), config.load(), number, attempt)


@commands.command()
def migrate() -> None:
    """Bring the tables of the database at DATABASE_URL to this version."""
    from app import database

    database.migrate(_database_url("migrate"))
    console.say("the database is up to date")


@commands.command()
def verify() -> None:
    """Count all votes again from the log, and compare with the counters; exit status 1 where they differ."""
    from app import config, database, serving, verification

    with serving.database_of(config.load()) as url, database.transaction(url) as db:
        problems, votes = verification.problems(db), verification.votes(db)
    for problem in problems:
        console.err.print(problem, markup=False, soft_wrap=True)
    console.out.print(f"{votes} votes; {len(problems)} counters differ from the log", markup=False)
    if problems:
        raise typer.Exit(1)


@commands.command()
def simulate(
    study: Annotated[str, typer.Argument(help="The study's name in addresses.")],
    subjects: Annotated[int, typer.Option(min=1, help="How many.")] = 20,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same people.")] = 0,
    sensitivity: Annotated[float, typer.Option(min=0, help="How sure the average subject is.")] = 1.0,
    quality: Annotated[
        Path | None, typer.Option(help="What they judge by: a CSV file with stem,method,quality.")
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="Of the server; by default, the one that runs in DISCERN_HOME.")
    ] = None,
) -> None:
    """Let simulated subjects vote through the HTTP API of a running server; they are marked so wherever they appear."""
    from app import config, database, serving, simulation
    from pipelines.ranking.observers import Population

    settings = config.load()
    address = url or serving.running_url(settings.home)
    with serving.database_of(settings) as database_url, console.progress_display() as progress:
        cast = simulation.run(
            database.sessions(database_url),
            address,
            study,
            subjects=subjects,
            seed=seed,
            population=Population(sensitivity=sensitivity),
            quality=quality,
            verify=serving.trust(settings.home, address),
            progress=progress,
        )
    console.say(f"{cast} votes by {subjects} simulated subjects")


study_commands = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
commands.add_typer(study_commands, name="study", help="Studies on the server.")


@study_commands.command("import")
def import_study(
    workspace: Annotated[Path, typer.Argument(help="The workspace folder that `discern run` made.")],
    name: Annotated[str | None, typer.Option(help="Of the study in addresses; made from its title by default.")] = None,
) -> None:
    """Fill the database with the selected pairs of a workspace; again, it adds what the workspace has got since."""
    from app import config, database, serving, studies
    from app.store import Store

    settings = config.load()
    store = Store(settings.store_url)
    with (
        serving.database_of(settings) as url,
        console.progress_display() as progress,
        database.transaction(url) as db,
    ):
        imported = studies.take_in(db, store, workspace, name=name, progress=progress)
    for line in imported.lines():
        console.say(line)


@commands.command("set-up-link")
def set_up_link(
    role: Annotated[str, typer.Option(help="experimenter or admin.")] = "admin",
    url: Annotated[
        str | None, typer.Option(help="Of the server; by default, the one that runs in DISCERN_HOME.")
    ] = None,
) -> None:
    """Print a one-time link with which somebody chooses a name and a password: when no admin can sign in any more."""
    from app import config, serving
    from app.security import invitations

    if role not in ("experimenter", "admin"):
        raise DiscernError(f"--role: {role!r} is not known; choose 'experimenter' or 'admin'")
    settings = config.load()
    address = url or settings.public_url or serving.running_url(settings.home)
    with serving.database_of(settings) as database_url:
        console.say(invitations.set_up_link(database_url, address, "admin" if role == "admin" else "experimenter"))


def _offer_first_admin(database_url: str, url: str) -> None:
    from app.security import invitations

    link = invitations.first_admin(database_url, url)
    if link is not None:
        console.say(f"nobody can sign in yet; the first admin chooses a name and a password here, once: {link}")


def _given_files(certificate: Path | None, key: Path | None) -> "Files | None":
    from app import tls

    if (certificate is None) != (key is None):
        raise DiscernError("--certificate and --key: give both, or neither")
    return None if certificate is None or key is None else tls.given(certificate, key)


def _own_files(home: Path, host: str, others_are_given: bool) -> "Files":
    from app import tls

    if others_are_given:
        raise DiscernError("--tls makes a certificate: give either that, or --certificate and --key")
    files = tls.own(home, host)
    console.say(
        "browsers warn once of this server's own certificate; let them go on where they show this SHA-256 "
        f"fingerprint: {files.fingerprint}"
    )
    return files


def _database_url(verb: str) -> str:
    from app import config

    url = config.load().database_url
    if url is None:
        raise DiscernError(f"DATABASE_URL: not set; `discern {verb}` needs a database, `discern serve` brings its own")
    return url.get_secret_value()


if __name__ == "__main__":
    main()
