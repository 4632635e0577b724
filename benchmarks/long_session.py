"""The memory that a browser takes over a session of as many trials as the largest study has."""

from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from benchmarks import devtools, site
from benchmarks.trial_page import FLAGS, PROTOCOL, chromium_program

TRIALS, SIDE = 1056, 256
SAMPLES, ROWS = 48, 12  # taken, and shown
FLAT_MIB = 3.0  # for each 100 trials: a fifth of what they would leave behind if their files, as they came, were kept
SETTLE_MS = 500  # all is fetched, and what is no longer needed is given back
BEGIN = """(() => {
  document.querySelector("[type=checkbox]").click();
  document.querySelector("form button.primary").click();
})()"""


@dataclass(frozen=True)
class Sample:
    """MiB after so many trials: of the page's heap, of the browser's renderers, and of its other processes."""

    trials: int
    heap: float
    renderers: float
    others: float


def sections(folder: Path) -> list[str]:
    """The part of the page about memory."""
    workspace = site.make_workspace(folder / "study", images=71, side=SIDE, methods=6, protocol=PROTOCOL)
    window = f"--window-size={2 * SIDE + 160},{SIDE + 340}"
    with (
        site.serving(folder, workspace) as served,
        devtools.page(chromium_program(), folder / "profile", [*FLAGS, window]) as page,
    ):
        page.send("Page.navigate", url=served.url + served.invitation())
        page.wait("document.readyState === 'complete' && document.querySelector('form button.primary')")
        page.evaluate(BEGIN)
        return [_text(_session(page))]


def _session(page: devtools.Page) -> list[Sample]:
    samples, trial = [], ""
    for number in range(1, TRIALS):
        page.wait(f"!['', {trial!r}, undefined].includes(document.documentElement.dataset.trial)")
        trial = page.evaluate("document.documentElement.dataset.trial")
        page.press("ArrowLeft" if number % 2 else "ArrowRight")
        if number % (TRIALS // SAMPLES) == 0:
            page.evaluate(f"new Promise((settled) => setTimeout(settled, {SETTLE_MS}))")
            page.send("HeapProfiler.collectGarbage")
            samples.append(_sample(page, number))
    return samples


def _sample(page: devtools.Page, number: int) -> Sample:
    mib: dict[bool, float] = defaultdict(float)
    browser = psutil.Process(page.process.pid)
    for process in [browser, *browser.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess, ProcessLookupError, FileNotFoundError):  # it has just ended
            mib["--type=renderer" in process.cmdline()] += _written_mib(process.pid)
    heap = page.send("Runtime.getHeapUsage")["usedSize"] / 2**20
    return Sample(number, heap, renderers=mib[True], others=mib[False])


def _written_mib(pid: int) -> float:
    """PSS without the program's files, which count for less as soon as another browser runs on the machine."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    kib = {name: int(value.split()[0]) for name, _, value in (line.partition(":") for line in lines[1:])}
    return (kib["Pss_Anon"] + kib["Pss_Shmem"]) / 2**10


def growth(samples: list[Sample]) -> float:
    """MiB that all processes take more for each 100 trials, over the second half of the session (least squares)."""
    late = [sample for sample in samples if sample.trials >= TRIALS / 2]
    slope, _ = np.polyfit([sample.trials / 100 for sample in late], [s.renderers + s.others for s in late], 1)
    return float(slope)


def _text(samples: list[Sample]) -> str:
    rows = "\n".join(
        f"| {sample.trials} | {sample.renderers:.0f} | {sample.others:.0f} | {sample.heap:.1f} |"
        for sample in samples[SAMPLES // ROWS - 1 :: SAMPLES // ROWS]
    )
    slope = growth(samples)
    verdict = "flat" if slope <= FLAT_MIB else "not flat"
    return (
        "### Memory of a long session\n\n"
        f"One page, {TRIALS:,} trials of two images of {SIDE} x {SIDE} pixels, in headless Chromium with its profile "
        "on the disk, as users have it, and with nothing recorded by its developer tools. (In a private window the "
        "browser keeps its cache in the memory of another process, and under a driver that records requests it keeps "
        "what they brought in the page's.) MiB that the processes have written (PSS without mapped files), after "
        "garbage was collected.\n\n"
        "| trials voted on | renderers, the page's among them | other processes of the browser | JavaScript heap |\n"
        f"| --- | --- | --- | --- |\n{rows}\n\n"
        f"Over the second half, all processes together change by {slope:+.1f} MiB for each 100 trials, whose files are "
        f"16 MiB: {verdict} (goal: flat, which is at most {FLAT_MIB:g}; a line through {SAMPLES // 2} samples)."
    )
