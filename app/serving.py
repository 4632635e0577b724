"""`discern serve`: the parent process that owns PostgreSQL, the web server and the worker, and stops them in order."""

import json
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import filelock
import httpx

from app import children, database, embedded_postgres, tls
from app.children import Lifeline
from app.config import Settings
from app.embedded_postgres import EmbeddedPostgres
from pipelines.errors import DiscernError
from pipelines.workspace import write_json

RECORD = "server.json"
LOOK_SECONDS = 0.2
STOP_SECONDS = 15.0
START_SECONDS = 60.0
# A child that dies more often than this in a minute will not be mended by starting it again.
MOST_RESTARTS = 5

Say = Callable[[str], None]


@dataclass
class Child:
    """A process that is to run, and that is started again when it dies."""

    name: str
    command: Sequence[str]
    environment: dict[str, str]
    descriptors: tuple[int, ...]
    process: "subprocess.Popen[bytes] | None" = None
    starts: deque[float] = field(default_factory=lambda: deque(maxlen=MOST_RESTARTS))

    def start(self) -> None:
        """Start it, in a session of its own: Ctrl-C reaches the parent alone, which then stops all in order."""
        self.starts.append(time.monotonic())
        self.process = subprocess.Popen(  # noqa: S603 - our own command
            self.command,
            env=self.environment,
            pass_fds=self.descriptors,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    @property
    def is_running(self) -> bool:
        """Whether it lives."""
        return self.process is not None and self.process.poll() is None

    @property
    def is_hopeless(self) -> bool:
        """Whether it has died too often in the last minute."""
        return len(self.starts) == MOST_RESTARTS and time.monotonic() - self.starts[0] < 60

    def stop(self) -> None:
        """Ask it to stop, and kill it if it does not."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Supervisor:
    """Watches PostgreSQL and the children, and starts again what was killed."""

    def __init__(self, postgres: EmbeddedPostgres | None, kids: Sequence[Child], say: Say) -> None:
        self._postgres, self._children, self._say = postgres, kids, say
        self._problem: str | None = None
        self._stopping = threading.Event()
        self._failed = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)

    def __enter__(self) -> "Supervisor":
        for child in self._children:
            child.start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        for child in reversed(self._children):
            child.stop()

    @property
    def failure(self) -> str | None:
        """Why there is no point in going on; None while all is well."""
        return self._problem

    def wait(self) -> None:
        """Return when something has failed for good; interrupted by signals."""
        while not self._failed.wait(3600):
            pass

    def _watch(self) -> None:
        try:
            while not self._stopping.wait(LOOK_SECONDS) and not self._failed.is_set():
                self._look()
        except Exception as error:  # whatever it is, nobody watches any more: `wait` returns and everything is stopped
            self._problem = str(error) or repr(error)
            self._failed.set()

    def _look(self) -> None:
        if self._postgres is not None and not self._postgres.is_running:
            self._tell("PostgreSQL stopped; starting it again")
            self._postgres.revive()
        for child in self._children:
            if not child.is_running:
                self._restart(child)

    def _restart(self, child: Child) -> None:
        if child.is_hopeless:
            raise DiscernError(f"the {child.name} stopped again and again; the messages above say why")
        self._tell(f"the {child.name} stopped; starting it again")
        child.start()

    def _tell(self, message: str) -> None:
        # The server outlives whoever read its output.
        with suppress(OSError):
            self._say(message)


@dataclass(frozen=True)
class Server:
    """What runs: how browsers reach it, and how this process reaches its database."""

    url: str
    database_url: str
    supervisor: Supervisor


@contextmanager
def running(
    settings: Settings, *, host: str, port: int, say: Say, secured: tls.Files | None = None
) -> Iterator[Server]:
    """Have everything run, and stop it in reverse order.

    Args:
        settings: where the data lie.
        host: to listen on.
        port: to listen on; 0 for any that is free.
        say: told of what a person at the terminal should know.
        secured: certificate and key, to serve https.

    Raises:
        DiscernError: the port is taken, another server uses this home, or something does not start.
    """
    home = settings.home.resolve()
    with ExitStack() as stack:
        _lock(home, stack)
        listening = stack.enter_context(listen(host, port))
        postgres = None if settings.database_url else stack.enter_context(_embedded(home, say))
        given = settings.database_url
        database_url = postgres.url if postgres is not None else given.get_secret_value() if given else ""
        database.migrate(database_url)
        lifeline = Lifeline()
        stack.callback(lifeline.close)
        environment = lifeline.environment({"DATABASE_URL": database_url, "DISCERN_HOME": str(home)})
        kids = [
            Child("worker", children.command("worker"), environment, (lifeline.reading,)),
            Child(
                "web server",
                children.command("web", "--fd", str(listening.fileno()), *_options(secured)),
                environment,
                (lifeline.reading, listening.fileno()),
            ),
        ]
        scheme = "http" if secured is None else "https"
        url = settings.public_url or f"{scheme}://{_shown(host)}:{listening.getsockname()[1]}"
        supervisor = stack.enter_context(Supervisor(postgres, kids, say))
        stack.callback(_ignore_signals)
        _wait_until_ready(listening, supervisor, secured)
        certificate = {} if secured is None else {"certificate": str(secured.certificate)}
        write_json(home / RECORD, {"url": url, **certificate})
        stack.callback((home / RECORD).unlink, missing_ok=True)
        yield Server(url, database_url, supervisor)


def running_url(home: Path) -> str:
    """How to reach the server that runs in this home.

    Raises:
        DiscernError: none does.
    """
    try:
        return str(json.loads((home / RECORD).read_text(encoding="utf-8"))["url"])
    except (OSError, ValueError, KeyError):
        raise DiscernError(f"{home}: no server runs here; start `discern serve`, or give --url") from None


def trust(home: Path, url: str) -> ssl.SSLContext | bool:
    """What a client verifies a server by: the certificate of the one that runs in this home, if that is at the URL."""
    try:
        record = json.loads((home / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return True
    if "certificate" not in record or record.get("url") != url.rstrip("/"):
        return True
    return tls.trusting(Path(record["certificate"]))


@contextmanager
def database_of(settings: Settings) -> Iterator[str]:
    """The URL of the migrated database: the one given, or the embedded one, started for as long as it is needed."""
    if settings.database_url is not None:
        url = settings.database_url.get_secret_value()
        database.migrate(url)
        yield url
        return
    with embedded_postgres.running(settings.home / "postgres") as postgres:
        database.migrate(postgres.url)
        yield postgres.url


def stop_on_sigterm() -> None:
    """Treat SIGTERM as Ctrl-C, so that everything is stopped in order."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def _ignore_signals() -> None:
    """Once the stop has begun, nothing interrupts it: a half-stopped server leaves processes behind."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _lock(home: Path, stack: ExitStack) -> None:
    try:
        home.mkdir(parents=True, exist_ok=True)
        stack.enter_context(filelock.FileLock(home / ".lock", blocking=False))
    except filelock.Timeout:
        raise DiscernError(f"{home}: another server runs here; stop it, or set DISCERN_HOME") from None
    except OSError as error:
        raise DiscernError(f"{home}: cannot be used ({error.strerror}); set DISCERN_HOME") from error


def listen(host: str, port: int) -> socket.socket:
    """A socket that is listened on by the parent: connections wait while the web server is started again.

    Raises:
        DiscernError: the port is taken, or the address is not this machine's.
    """
    try:
        return socket.create_server((host, port), backlog=512)
    except (OSError, OverflowError) as error:
        raise DiscernError(f"cannot listen on {host}:{port} ({error}); choose another --port or --host") from error


@contextmanager
def _embedded(home: Path, say: Say) -> Iterator[EmbeddedPostgres]:
    if embedded_postgres.runs_as_root():
        say(f"running as root: PostgreSQL needs every folder above {home} readable to all; prefer an ordinary user")
    with embedded_postgres.running(home / "postgres") as postgres:
        yield postgres


def _options(secured: tls.Files | None) -> list[str]:
    return [] if secured is None else ["--certificate", str(secured.certificate), "--key", str(secured.key)]


def _wait_until_ready(listening: socket.socket, supervisor: Supervisor, secured: tls.Files | None) -> None:
    host, port = listening.getsockname()[:2]
    scheme, verify = ("http", True) if secured is None else ("https", tls.trusting(secured.certificate))
    deadline = time.monotonic() + START_SECONDS
    while supervisor.failure is None and time.monotonic() < deadline:
        with suppress(httpx.TransportError):
            if httpx.get(
                f"{scheme}://{_shown(host)}:{port}/health", timeout=5, trust_env=False, verify=verify
            ).is_success:
                return
        time.sleep(LOOK_SECONDS)
    raise DiscernError(supervisor.failure or f"the web server did not answer within {START_SECONDS:g} s")


def _shown(host: str) -> str:
    """An address that a browser on this machine can open."""
    return "127.0.0.1" if host in ("0.0.0.0", "") else host  # noqa: S104 - compared with, not listened on
