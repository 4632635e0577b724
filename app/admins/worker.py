"""`discern worker`: takes jobs from the queue, on this host or another one."""

import asyncio
import os
import platform
from collections.abc import Sequence

import procrastinate

from app import database
from app.admins import jobs, preruns
from app.admins.jobs import Queue


def run(url: str, queues: Sequence[Queue], environment: dict[str, str]) -> None:
    """Work until SIGINT or SIGTERM; a job that is under way is put back for the next worker.

    Args:
        url: of the database.
        queues: to take jobs from.
        environment: what the processes of jobs need beside this one's environment.
    """
    asyncio.run(_run(url, queues, environment))


async def _run(url: str, queues: Sequence[Queue], environment: dict[str, str]) -> None:
    sessions = database.sessions(url)
    worker = jobs.app.with_connector(procrastinate.PsycopgConnector(conninfo=database.psycopg_url(url)))
    async with worker.open_async():
        sweeping = asyncio.create_task(jobs.sweep_for_ever(worker, sessions, preruns.follow_up))
        working = asyncio.create_task(
            worker.run_worker_async(
                queues=list(queues),
                concurrency=1,
                name=f"{platform.node()}-{os.getpid()}",
                shutdown_graceful_timeout=0,
                update_heartbeat_interval=jobs.HEARTBEAT_SECONDS,
                stalled_worker_timeout=jobs.STALLED_SECONDS,
                additional_context={
                    "sessions": sessions,
                    "environment": environment,
                    "follow_up": preruns.follow_up,
                },
            )
        )
        # Neither may end before the other: if one fails, so does the worker, and whoever runs it starts another.
        done, _ = await asyncio.wait({working, sweeping}, return_when=asyncio.FIRST_COMPLETED)
        for task in {working, sweeping} - done:
            task.cancel()
        for task in done:
            task.result()
