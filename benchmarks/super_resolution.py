"""The super-resolution stage against bare loops over the same images."""

import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from PIL.Image import Resampling
from spandrel.architectures.Compact import Compact
from spandrel.architectures.ESRGAN import ESRGAN

from benchmarks.timing import seconds, spread
from pipelines import ingest
from pipelines import study as studies
from pipelines.super_resolution import stage
from pipelines.workspace import Workspace

SMALL = 64  # side of the small images
COMPRESSION = 3  # zlib level of the PNG files, here as there
METHODS = {
    "nearest": '[[methods]]\nid = "nearest"\nkind = "interpolation"\nalgorithm = "nearest"\n',
    "bicubic": '[[methods]]\nid = "bicubic"\nkind = "interpolation"\nalgorithm = "bicubic"\n',
}


@dataclass(frozen=True)
class Case:
    """A network and the images that it is given."""

    name: str
    network: torch.nn.Module
    images: int
    side: int
    goal: float


def sections(folder: Path, *, images: int, repeats: int) -> list[str]:
    """The parts of the page about this stage.

    Args:
        folder: to work in.
        images: how many small ones the bookkeeping is measured on.
        repeats: of each comparison.
    """
    torch.manual_seed(0)
    cases = [
        Case("RRDBNet (as in Real-ESRGAN), 96 x 96", ESRGAN(num_filters=64, num_blocks=23), 10, 96, 1.05),
        Case("SRVGGNet, 16 layers of 64, 144 x 144", Compact(num_feat=64, num_conv=16, upscale=4), 40, 144, 1.25),
    ]
    return [
        _networks(folder, cases, repeats),
        _bookkeeping(folder / "small", images, repeats),
        _memory(folder / "memory", images),
    ]


def _networks(folder: Path, cases: Sequence[Case], repeats: int) -> str:
    rows = [_network_row(folder / str(number), case, repeats) for number, case in enumerate(cases)]
    return (
        "### The stage and the bare model loop\n\n"
        "The stage decodes, checks, runs the network, verifies, encodes, hashes, stores with fsync and records; one "
        "thread of the network for each worker. The bare loop decodes, runs the same network with all cores for each "
        "image, encodes and writes. Random weights, CPU; medians of "
        f"{repeats} runs, range in brackets.\n\n"
        "| network and LR images | bare loop, s per image | stage / bare | goal |\n| --- | --- | --- | --- |\n"
        + "\n".join(rows)
    )


def _network_row(folder: Path, case: Case, repeats: int) -> str:
    _write_images(folder / "lr", case.images, case.side)
    torch.save(case.network.state_dict(), folder / "net.pth")
    network = '[[methods]]\nid = "net"\nkind = "checkpoint"\nfile = "net.pth"\n'
    files = sorted((folder / "lr").iterdir())

    def bare() -> None:
        _bare_network(case.network, files, folder / "bare")

    def staged(run: int) -> Callable[[], None]:
        # A study has two methods at least; the classical one is done beforehand.
        return _stage(folder, f"run-{run}", METHODS["nearest"] + network)

    bare_seconds, ratios = _compare(bare, staged, repeats)
    return f"| {case.name}, {case.images} of them | {bare_seconds / case.images:.2f} | {spread(ratios)} | {case.goal} |"


def _bookkeeping(folder: Path, images: int, repeats: int) -> str:
    _write_images(folder / "lr", images, SMALL)
    files = sorted((folder / "lr").iterdir())
    bare_seconds, ratios = _compare(
        lambda: _bare_enlargement(files, folder / "bare"),
        lambda run: _stage(folder, f"run-{run}", METHODS["nearest"] + METHODS["bicubic"]),
        repeats,
    )
    again = _second_run(folder / "run-0.toml")
    return (
        f"### Bookkeeping over {images:,} small images\n\n"
        "Bicubic enlargement of 64 x 64 pixels to 256 x 256: what is left is bookkeeping. The bare loop decodes, "
        "enlarges, encodes and writes, with as many threads as the stage.\n\n"
        "| bare loop, ms per image | stage / bare | goal |\n| --- | --- | --- |\n"
        f"| {1000 * bare_seconds / images:.2f} | {spread(ratios)} | 1.3 |\n\n"
        f"A second run of ingest and stage over these {images:,} images, all finished with two methods, in a new "
        f"process with its imports: {again:.1f} s (goal: under 5 s)."
    )


def _memory(folder: Path, images: int) -> str:
    few = max(images // 2, 1)
    peaks = {count: _peak_of(folder / str(count), count) for count in (few, images)}
    return (
        "### Memory\n\n"
        f"Peak memory of a process that ingests and enlarges small images: {peaks[few]:.0f} MiB for {few:,} of them, "
        f"{peaks[images]:.0f} MiB for {images:,}: {1024 * (peaks[images] - peaks[few]) / (images - few):.1f} KiB for "
        "each further image, which are its rows in the tables. Pixels do not pile up."
    )


def _compare(
    bare: Callable[[], None], staged: Callable[[int], Callable[[], None]], repeats: int
) -> tuple[float, list[float]]:
    """Seconds of the bare loop (median), and the ratio of each pair of runs."""
    bare()  # once for caches and lazy imports
    times = []
    for run in range(repeats):
        prepared = staged(run)
        times.append((seconds(bare), seconds(prepared)))
    return statistics.median(first for first, _ in times), [second / first for first, second in times]


def _stage(folder: Path, name: str, methods: str) -> Callable[[], None]:
    """A workspace in which all is done but the last method; what makes its outputs, recorded and verified."""
    path = folder / f"{name}.toml"
    path.write_text(f'name = "{name}"\nworkspace = "{name}"\n[images]\nfolder = "lr"\n{methods}')
    study = studies.load(path)
    workspace = Workspace(study.workspace)
    ingest.run(study, workspace)
    first, *_ = stage.plan(study, workspace)
    stage.run_part(study, workspace, first.method, first.images)

    def run() -> None:
        report = stage.run(study, workspace)
        assert report.new == len(first.images), report

    return run


def _bare_network(network: torch.nn.Module, files: Sequence[Path], out: Path) -> None:
    out.mkdir(exist_ok=True)
    network.eval()
    for file in files:
        values = (
            torch.from_numpy(np.asarray(Image.open(file).convert("RGB")).copy()).permute(2, 0, 1)[None].float() / 255
        )
        with torch.inference_mode():
            pixels = (network(values)[0] * 255).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(out / file.name, compress_level=COMPRESSION)


def _bare_enlargement(files: Sequence[Path], out: Path) -> None:
    out.mkdir(exist_ok=True)

    def enlarge(file: Path) -> None:
        image = Image.open(file).convert("RGB")
        large = image.resize((image.width * 4, image.height * 4), Resampling.BICUBIC)
        large.save(out / file.name, compress_level=COMPRESSION)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(enlarge, files))


AGAIN = """
import sys
from pathlib import Path
from pipelines import ingest, study as studies
from pipelines.super_resolution import stage
from pipelines.workspace import Workspace

study = studies.load(Path(sys.argv[1]))
workspace = Workspace(study.workspace)
assert ingest.run(study, workspace).new == int(sys.argv[2])
stage.run(study, workspace)
"""

PEAK = (
    AGAIN
    + """
from pipelines import memory
print(memory.peak() / 2**20)
"""
)


def _second_run(study: Path) -> float:
    return seconds(lambda: subprocess.run([sys.executable, "-c", AGAIN, str(study), "0"], check=True))


def _peak_of(folder: Path, images: int) -> float:
    """MiB, in a process of its own."""
    _write_images(folder / "lr", images, SMALL)
    study = folder / "study.toml"
    study.write_text('name = "memory"\n[images]\nfolder = "lr"\n' + METHODS["nearest"] + METHODS["bicubic"])
    command = [sys.executable, "-c", PEAK, str(study), str(images)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _write_images(folder: Path, images: int, side: int) -> None:
    """Smooth patches with noise on them, each another one: they compress about as photographs do."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for number in range(images):
        coarse = Image.fromarray(random.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((side, side), Resampling.BICUBIC)).astype(np.float64)
        pixels = np.clip(smooth + random.normal(0, 4, smooth.shape), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:05d}.png")
