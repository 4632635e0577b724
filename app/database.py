"""The database: engine, sessions, migrations, and the notifications that a vote has been stored."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait
from typing import TypeVar

import psycopg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import Connection, Engine, create_engine, event, func, make_url, select
from sqlalchemy.exc import ArgumentError, DisconnectionError, OperationalError
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import QueuePool

from app import resources
from pipelines.errors import DiscernError

VOTES_CHANNEL = "discern_votes"
Result = TypeVar("Result")
# Connections of a process: one for each request that is let in at once, and some for streams and reports.
REQUESTS, POOL = 20, 30
MIGRATION_LOCK = 0x44495343  # any number that nobody else takes


def engine(url: str) -> Engine:
    """An engine for a PostgreSQL URL; a connection that broke since its last use is replaced.

    Raises:
        DiscernError: the URL is not one of PostgreSQL.
    """
    made = create_engine(_with_driver(url), pool_size=POOL, max_overflow=0)
    event.listen(made, "checkout", _check_alive)
    return made


def _check_alive(connection: "psycopg.Connection[object]", _record: object, _proxy: object) -> None:
    """Have a broken connection replaced: its end lies waiting to be read, which costs less to see than to ask for."""
    if connection.closed or wait([connection.fileno()], timeout=0):
        raise DisconnectionError


async def close(made: Engine, *, seconds: float = 5) -> None:
    """Close all connections, once threads that outlive their requests have given theirs back: later ones would stay.

    Args:
        made: the engine.
        seconds: after which those that are still in use are left behind.
    """
    assert isinstance(made.pool, QueuePool)
    deadline = time.monotonic() + seconds
    while made.pool.checkedout() and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
    made.dispose()


def sessions(url: str) -> sessionmaker[Session]:
    """Makes sessions; whoever opens one ends its transaction."""
    return sessionmaker(engine(url), expire_on_commit=False)


def migrate(url: str) -> None:
    """Bring the tables to the newest version.

    Raises:
        DiscernError: the database cannot be reached, or was made by a newer Discern.
    """
    config = Config()
    config.set_main_option("script_location", str(resources.folder("migrations")).replace("%", "%%"))
    temporary = engine(url)
    try:
        with temporary.begin() as connection:
            # Hosts that start at once migrate one after another; those that come later find nothing to do.
            connection.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK)))
            _check_known(ScriptDirectory.from_config(config), connection)
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except OperationalError as error:
        raise _unreachable(error) from error
    finally:
        temporary.dispose()


@contextmanager
def transaction(url: str) -> Iterator[Session]:
    """A single transaction, on a connection that is closed at its end.

    Raises:
        DiscernError: the database cannot be reached.
    """
    made = sessions(url)
    try:
        with made.begin() as session:
            yield session
    except OperationalError as error:
        raise _unreachable(error) from error
    finally:
        made.kw["bind"].dispose()


def persist(work: Callable[[], Result], *, seconds: float = 120) -> Result:
    """Do something in the database, again and again while it does not answer: it may be on its way back from a crash.

    Args:
        work: opens its own transaction, and may be repeated.
        seconds: after which the last error is raised.

    Raises:
        OperationalError: the database did not come back.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            return work()
        except OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(1)


def notify_vote(session: Session, study_id: int) -> None:
    """Tell every web process, when this transaction commits, that the votes of a study have changed."""
    session.execute(select(func.pg_notify(VOTES_CHANNEL, str(study_id))))


async def studies_voted_on(url: str) -> AsyncIterator[int | None]:
    """The id of a study each time a vote on it was stored; a hint to read again, not a record.

    The first one is None: from now on nothing is missed, what happened before is not known.

    Raises:
        psycopg.OperationalError: the connection was lost.
    """
    async with await psycopg.AsyncConnection.connect(psycopg_url(url), autocommit=True) as connection:
        await connection.execute(f"LISTEN {VOTES_CHANNEL}")
        yield None
        async for notice in connection.notifies():
            yield int(notice.payload)


def psycopg_url(url: str) -> str:
    """The URL as libpq takes it."""
    return make_url(_with_driver(url)).set(drivername="postgresql").render_as_string(hide_password=False)


def _unreachable(error: OperationalError) -> DiscernError:
    return DiscernError(f"DATABASE_URL: the database cannot be reached: {' '.join(str(error.orig).split())}")


def _with_driver(url: str) -> str:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise DiscernError("DATABASE_URL: not a URL; write postgresql://user:password@host/database") from error
    if parsed.get_backend_name() not in ("postgresql", "postgres"):
        raise DiscernError(f"DATABASE_URL: {parsed.get_backend_name()!r} is not PostgreSQL; no other database will do")
    try:
        conninfo_to_dict(parsed.set(drivername="postgresql").render_as_string(hide_password=False))
    except psycopg.ProgrammingError as error:
        raise DiscernError(f"DATABASE_URL: {str(error).strip()}; correct or remove it") from error
    return parsed.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)


def _check_known(scripts: ScriptDirectory, connection: Connection) -> None:
    current = MigrationContext.configure(connection).get_current_revision()
    if current is not None and current not in {script.revision for script in scripts.walk_revisions()}:
        raise DiscernError(f"the database was made by a newer Discern (revision {current}): update Discern")
