"""Networks run in this process: loaded once, in tiles where an image is large, in the precision that was asked for.

When memory runs out, the tile is halved and the image is done again; what was used is recorded with each output.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib import metadata
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from pipelines import devices, memory
from pipelines.errors import DiscernError
from pipelines.images import Pixels
from pipelines.super_resolution import tiling
from pipelines.super_resolution.method import Output
from pipelines.super_resolution.tiling import Forward

Precision = Literal["float32", "float16", "bfloat16", "auto"]

SMALLEST_TILE = 32
_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
_ALLOCATION_FAILED = ("can't allocate memory", "not enough memory", "out of memory", "ALLOC_FAILED", "bad_alloc")
# What the code of a network raises for images, or in precisions, that it cannot do.
_FAILURES = (RuntimeError, ValueError, LookupError, AssertionError, MemoryError)


@dataclass(frozen=True)
class Loaded:
    """A network in memory.

    Attributes:
        module: what is moved to a device and a precision.
        for_image: given a whole LR image, (1, 3, h, w), what enlarges tiles of it.
        half: the half precisions that it claims to compute correctly in; they are tried before they are used.
    """

    module: nn.Module
    for_image: Callable[[torch.Tensor], Forward]
    half: frozenset[str] = frozenset({"float16", "bfloat16"})


@dataclass(frozen=True)
class Settings:
    """How a network is run; the names are those of the study file.

    Attributes:
        device: as torch names it.
        precision: see `choose_precision`.
        tile: longest side that is given to the network at once, in LR pixels.
        overlap: LR pixels that neighbouring tiles share.
    """

    scale: int
    device: str = "cpu"
    precision: Precision = "float32"
    tile: int = 512
    overlap: int = 64


@dataclass(frozen=True)
class Network:
    """A network as the stage runs it.

    Attributes:
        id: the method's name in the study.
        facts: the kind, its parameters, and the sha256 of its weights.
        load: makes it, on the CPU; may raise a WeightsError.
        settings: how it is run.
    """

    id: str
    facts: dict[str, Any]
    load: Callable[[], Loaded]
    settings: Settings
    _state: "_State" = field(default_factory=lambda: _State(), init=False, repr=False, compare=False)

    @property
    def provenance(self) -> dict[str, Any]:
        """See `Method.provenance`; a GPU and a CPU round differently, so the kind of device belongs to it.

        What depends on the host alone stands with each output: the precision that "auto" became, and the tile that
        memory allowed.
        """
        settings = self.settings
        return self.facts | {
            "scale": settings.scale,
            "device": settings.device.partition(":")[0],
            "precision": settings.precision,
            "tile": settings.tile,
            "overlap": settings.overlap,
            "tile_step": tiling.STEP,
            "torch": metadata.version("torch"),
        }

    @property
    def by_stem(self) -> bool:
        """See `Method.by_stem`."""
        return False

    def prepare(self) -> None:
        """See `Method.prepare`."""
        self._ready()

    def upscale(self, stem: str, low_resolution: Pixels) -> Output:
        """See `Method.upscale`."""
        loaded, precision = self._ready()
        device = torch.device(self.settings.device)
        low = torch.from_numpy(low_resolution.transpose(2, 0, 1).copy()).unsqueeze(0)
        # One image at a time on a GPU: its memory is for one, and threads decode and encode meanwhile.
        with self._state.alone if device.type == "cuda" else _nobody_waits(), torch.inference_mode():
            _forget_peak(device)
            pixels, tile = self._in_tiles(loaded.for_image, low, _DTYPES[precision], stem)
            return Output(pixels, device.type, precision, tile, _peak_memory(device))

    def _in_tiles(
        self, for_image: Callable[[torch.Tensor], Forward], low: torch.Tensor, dtype: torch.dtype, stem: str
    ) -> tuple[Pixels, int | None]:
        """The output and the tile's side, None for the whole image at once."""
        longest = max(low.shape[-2:])
        tile = allowed = self._state.tile or self.settings.tile
        while isinstance(made := self._attempt(for_image, low, dtype, stem, tile), str):
            torch.cuda.empty_cache()
            tile = self._halved(min(tile, longest), stem, made)
        if tile < allowed:
            self._state.tile = tile
        return made, tile if longest > tile else None

    def _attempt(
        self, for_image: Callable[[torch.Tensor], Forward], low: torch.Tensor, dtype: torch.dtype, stem: str, tile: int
    ) -> Pixels | str:
        """The output; where memory runs out, the reason, without the exception: that holds what fills the memory."""
        overlap = min(self.settings.overlap, tile // 2)
        try:
            values = low.to(self.settings.device, dtype) / 255
            output = tiling.upscale(for_image(values), values, self.settings.scale, tile=tile, overlap=overlap)
            return self._to_pixels(output, stem)
        except _FAILURES as error:
            if _is_out_of_memory(error):
                return _reason(error)
            raise DiscernError(f"{self.id}: the network cannot do {stem!r} ({_reason(error)})") from error

    def _halved(self, tile: int, stem: str, reason: str) -> int:
        if tile <= SMALLEST_TILE:
            raise DiscernError(
                f"{self.id}: out of memory on {stem!r} even in tiles of {tile} LR pixels ({reason}); free some memory"
            )
        # A multiple of it, so that tiles end where the windows of a network do.
        return max(tile // 2 // SMALLEST_TILE, 1) * SMALLEST_TILE

    def _to_pixels(self, output: torch.Tensor, stem: str) -> Pixels:
        if not torch.isfinite(output).all():
            raise DiscernError(
                f"{self.id}: the network gave values for {stem!r} that are not finite; try precision = 'float32'"
            )
        pixels = (output[0] * 255).round().clamp(0, 255).byte().permute(1, 2, 0).contiguous()
        return np.asarray(pixels.cpu().numpy(), dtype=np.uint8)

    def _ready(self) -> "tuple[Loaded, str]":
        with self._state.loading:
            if self._state.loaded is None:
                device = devices.usable(self.settings.device)
                try:
                    self._state.loaded = self._load_on(device)
                except _FAILURES as error:
                    if not _is_out_of_memory(error):
                        raise
                    raise DiscernError(
                        f"{self.id}: out of memory on {device} before the first image ({_reason(error)}); "
                        "free some memory"
                    ) from error
            return self._state.loaded

    def _load_on(self, device: torch.device) -> "tuple[Loaded, str]":
        loaded = self.load()
        while True:
            precision = choose_precision(self.settings.precision, loaded.half, device, self.id)
            loaded.module.eval().to(device, _DTYPES[precision])
            if precision == "float32" or _computes(loaded, device, _DTYPES[precision]):
                return loaded, precision
            # Anew, because these weights have been rounded.
            loaded = replace(self.load(), half=loaded.half - {precision})

    def check(self) -> None:
        """See `Method.check`; on the CPU, because the GPUs are for those who do the work."""
        on_cpu = replace(self.settings, device="cpu", precision="float32")
        loaded, _ = replace(self, settings=on_cpu)._ready()
        if self.settings.precision != "auto":  # that finds one on every device
            choose_precision(self.settings.precision, loaded.half, torch.device("cpu"), self.id)


class _State:
    """What a network holds while it is at work; it stays behind when the network is sent to another process."""

    def __init__(self) -> None:
        self.loading = threading.Lock()
        self.alone = threading.Lock()
        self.loaded: tuple[Loaded, str] | None = None
        self.tile: int | None = None  # what memory has allowed, once it had run out

    def __reduce__(self) -> "tuple[type[_State], tuple[()]]":
        return _State, ()


def choose_precision(wanted: Precision, half: frozenset[str], device: torch.device, method: str) -> str:
    """The precision to compute in.

    Args:
        wanted: `auto` is, on a GPU, float16 where the network allows it, else bfloat16 where both do, else float32.
        half: the half precisions that the network allows.
        device: where it runs.
        method: for the error.

    Raises:
        DiscernError: the network does not allow the one that is wanted.
    """
    if wanted == "float32" or (wanted == "auto" and device.type != "cuda"):
        return "float32"
    if wanted == "auto":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        usable = {"float16": True, "bfloat16": native, "float32": True}
        return next(name for name, works in usable.items() if works and name in half | {"float32"})
    if wanted not in half:
        allowed = " or ".join(map(repr, ["float32", *sorted(half)]))
        raise DiscernError(f"{method}: precision {wanted!r} does not work with this network; choose {allowed}")
    return wanted


def _computes(loaded: Loaded, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether a network can compute in a half precision; some claim it, and then mix it with float32 of their own."""
    # Not square: some are wrong only at other sizes than those of their training.
    low = torch.linspace(0, 1, 3 * 24 * 40, device=device).reshape(1, 3, 24, 40).to(dtype)
    try:
        with torch.inference_mode():
            return bool(torch.isfinite(loaded.for_image(low)(low)).all())
    except _FAILURES as error:
        if _is_out_of_memory(error):
            raise
        return False


def _is_out_of_memory(error: Exception) -> bool:
    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return known or any(words in _reason(error) for words in _ALLOCATION_FAILED)


def _reason(error: Exception) -> str:
    """The first line of a message; those of torch go on with advice to programmers."""
    return next(iter(str(error).splitlines()), type(error).__name__)


@contextmanager
def _nobody_waits() -> Iterator[None]:
    yield


def _forget_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return memory.peak()
