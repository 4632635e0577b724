"""A job's turn in a workspace: others may be at work there, such as an attempt that was taken for dead."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import filelock

from pipelines.progress import Progress
from pipelines.workspace import Workspace, WorkspaceError

TURN_SECONDS = 1.0


@contextmanager
def locked(workspace: Workspace, progress: Progress, *, shared: bool = False) -> Iterator[None]:
    """Hold the lock of a workspace, however long it takes to get; see `Workspace.lock`.

    It is waited for in turns: nothing, not even a signal, interrupts the wait for the lock itself.

    Args:
        workspace: to work in.
        progress: told of the wait.
        shared: let others work there that share too.

    Raises:
        WorkspaceError: the lock cannot be used.
    """
    progress("waiting for the workspace", 0, 0)
    with ExitStack() as stack:
        while not _entered(stack, workspace, shared):
            pass
        progress("setting up", 0, 0)
        yield


def _entered(stack: ExitStack, workspace: Workspace, shared: bool) -> bool:
    try:
        stack.enter_context(workspace.lock(patience=TURN_SECONDS, shared=shared))
    except WorkspaceError as error:
        if isinstance(error.__cause__, filelock.Timeout):
            return False
        raise
    return True
