"""A part of a pre-run on a host that does not see the workspace: LR images come, and outputs go, through the store."""

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from app.admins.exchange import Exchange
from app.admins.jobs import SupersededError
from app.admins.waiting import locked
from pipelines import ingest
from pipelines.progress import Progress
from pipelines.study import Study
from pipelines.super_resolution import stage
from pipelines.workspace import Workspace

# So much of a host that is lost is done again.
HAND_BACK_SECONDS = 10.0


@dataclass(frozen=True)
class Errand:
    """What a host does for a workspace that it does not see.

    Attributes:
        exchange: with the host that does.
        scratch: folder of this host; an attempt finds there what an earlier one has left, such as the outputs that a
            program had written when it was killed.
        part: key of the part.
        attempt: at it.
    """

    exchange: Exchange
    scratch: Path
    part: int
    attempt: int

    def run(self, study: Study, method: str, images: Sequence[str], progress: Progress, *, slot: str) -> stage.Report:
        """As `stage.run_part`, in a workspace of this host's own.

        Raises:
            DiscernError: the LR images cannot be had, the store does not answer, or the method cannot be set up.
        """
        workspace = Workspace(self.scratch)
        with locked(workspace, progress):
            self.exchange.borrow(workspace, ingest.manifest(workspace), images)
            outbox = _Outbox(self, workspace, progress, self.exchange.handed_back(self.part))
            left = [image for image in images if image not in outbox.gone]
            here = study.model_copy(update={"workspace": workspace.root})
            try:
                report = stage.run_part(here, workspace, method, left, outbox, slot=slot)
            except SupersededError:  # another attempt makes the rest, or nobody wants it
                raise
            except BaseException:
                outbox.send()
                raise
            outbox.send()
        shutil.rmtree(self.scratch)
        return report


@dataclass
class _Outbox:
    """Progress that hands outputs back on its way, every few seconds."""

    errand: Errand
    workspace: Workspace
    progress: Progress
    gone: set[str]
    sent_at: float = field(default_factory=time.monotonic)
    bundles: int = 0
    clock: Callable[[], float] = time.monotonic

    def __call__(self, task: str, done: int, total: int) -> None:
        """See `Progress`."""
        self.progress(task, done, total)
        if self.clock() - self.sent_at > HAND_BACK_SECONDS:
            self.send()
            self.sent_at = self.clock()

    def send(self) -> None:
        """Hand back what is new."""
        table = stage.manifest(self.workspace)
        rows = table.read()
        rows = rows[~rows["image"].isin(self.gone)]
        if len(rows):
            self.bundles += 1
            name = f"{self.errand.part}/{self.errand.attempt}-{self.bundles}"
            self.errand.exchange.hand_back(self.workspace, rows, table.schema, name)
            self.gone |= set(rows["image"])
