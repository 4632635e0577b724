"""Full-reference metrics of an installed IQA library, by name: `pyiqa:NAME`.

The library is an optional extra under a licence that forbids commercial use; it fetches the weights of its metrics
itself, and verifies nothing.
"""

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch

from pipelines.errors import DiscernError, WeightsError

PREFIX = "pyiqa:"
LIBRARY = "pyiqa"

_NUMBER = r"~?(-?\d+(?:\.\d+)?)?"


@dataclass(frozen=True)
class Facts:
    """What the library declares of a metric: its direction, and its range (infinite where it declares none)."""

    higher_is_better: bool
    bounds: tuple[float, float]


def facts(name: str) -> Facts:
    """What is declared of `pyiqa:NAME`.

    Raises:
        DiscernError: the library is not installed, or has no such full-reference metric.
    """
    _library()
    from pyiqa.default_model_configs import DEFAULT_CONFIGS

    metrics = {key: one for key, one in DEFAULT_CONFIGS.items() if one.get("metric_mode") == "FR"}
    metric = name.removeprefix(PREFIX)
    if metric not in metrics:
        close = difflib.get_close_matches(metric, metrics, n=3) or sorted(metrics)
        raise DiscernError(
            f"selection.distance: {LIBRARY} has no full-reference metric {metric!r}; choose one of {', '.join(close)}"
        )
    return Facts(not metrics[metric].get("lower_better"), _bounds(metrics[metric].get("score_range")))


def load(name: str, device: str) -> Callable[[torch.Tensor, torch.Tensor], float]:
    """The metric of two images (1, 3, h, w) float32 in [0, 1]: the image, then its reference.

    Raises:
        WeightsError: it cannot be made, as a rule because its weights cannot be fetched.
    """
    try:
        metric: Any = _library().create_metric(name.removeprefix(PREFIX), device=device)
    except Exception as error:  # whatever its code and its download raise
        raise WeightsError(
            f"selection.distance: {name} cannot be loaded ({_first_line(error)}); where its weights are missing, "
            "run it once with access to the network"
        ) from error

    def score(image: torch.Tensor, reference: torch.Tensor) -> float:
        try:
            return float(metric(image.to(device), reference.to(device)))
        except (RuntimeError, ValueError, AssertionError, IndexError) as error:
            size = "x".join(map(str, image.shape[:1:-1]))
            raise DiscernError(
                f"{name}: fails on an image of {size} ({_first_line(error)}); choose another metric"
            ) from error

    return score


def _library() -> ModuleType:
    try:
        import pyiqa
    except ModuleNotFoundError as error:
        raise DiscernError(
            f"selection.distance: {PREFIX}NAME needs a package that is not installed ({error.name}): "
            "pip install 'discern[iqa]' (its licence forbids commercial use)"
        ) from error
    return pyiqa


def _bounds(text: str | None) -> tuple[float, float]:
    """`~0, ~1` -> (0, 1); a bound that is missing, or that cannot be read, is infinite."""
    found = re.fullmatch(rf"{_NUMBER}, *{_NUMBER}", text or "")
    low, high = found.groups() if found else (None, None)
    return float(low) if low else -float("inf"), float(high) if high else float("inf")


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
