"""Every `discern` verb: parse, call one stage, print."""

import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from app import console
from pipelines.errors import DiscernError

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
def run(study: Annotated[Path, typer.Argument(help="The study file.")]) -> None:
    """From LR images to selected pairs: ingest, super-resolution, selection. What is finished is not done again."""
    from app import studies

    with console.progress_display() as progress:
        summary = studies.run(study, progress)
    console.print_problems(summary.problems)
    for line in summary.lines():
        console.out.print(line, markup=False, soft_wrap=True)


@commands.command()
def rank(
    votes: Annotated[Path, typer.Argument(help="A vote table (CSV): winner,loser[,image][,subject], and others.")],
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

    ranking = stage.rank(tables.read(votes, votes_per_pair=votes_per_pair), ridge=ridge, level=level)
    console.out.print(rankings.table(ranking, console.out.width, ascii_only=console.out.options.ascii_only))
    console.out.print()
    for line in rankings.footnotes(ranking):
        console.out.print(line, markup=False, soft_wrap=True)
    if json is not None:
        write_json(json, ranking.as_dict())


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
    json: Annotated[Path | None, typer.Option(help="Write the summary here as JSON, too.")] = None,
) -> None:
    """The whole loop on real photographs, with simulated subjects. Downloads nothing."""
    if not once:
        raise DiscernError("demo: give --once: this version runs the loop and exits, it has no server to stay up")
    from app.demo import loop, summary
    from pipelines.workspace import write_json

    with console.progress_display() as progress:
        result = loop.run(directory, progress)
    summary.show(result, console.out)
    if json is not None:
        write_json(json, result.as_dict())


if __name__ == "__main__":
    main()
