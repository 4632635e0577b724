"""All outputs of one LR image side by side, with linked crops: what Fig. 6 of the paper shows, as a page."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from app.crops import Crop, most_disputed
from app.resources import templates
from pipelines.study import Study
from pipelines.super_resolution import record
from pipelines.workspace import Workspace

# What a reader asks first; everything else that is known follows in its own order.
FIRST = (
    "kind", "algorithm", "architecture", "weights_sha256", "generator_sha256", "predictor_sha256",
    "precision", "device", "seconds", "tile", "seed",
)  # fmt: skip
# Said elsewhere on the page, or of use to the stage alone.
LEFT_OUT = {"stage", "image", "method", "named", "sha256", "width", "height", "id"}
UNITS = {"seconds": "s", "tile": "LR px", "overlap": "LR px", "peak_memory": "MiB"}
MEBIBYTE = 2**20


@dataclass(frozen=True)
class Output:
    """f(x): one method's output, and what is known of how it came about, as names and texts."""

    method: str
    sha256: str
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Comparison:
    """The outputs of one LR image, in study order.

    Attributes:
        stem: the LR file's name without its extension.
        low_resolution: the pixel hash of the LR image.
        width: of the LR image.
        height: of the LR image.
        scale: output pixels for each LR pixel, along a side.
        outputs: of the methods that have one.
        missing: methods without an output of this image.
        crop: what is shown first.
    """

    stem: str
    low_resolution: str
    width: int
    height: int
    scale: int
    outputs: tuple[Output, ...]
    missing: tuple[str, ...]
    crop: Crop


def compare(study: Study, workspace: Workspace, rows: pd.DataFrame, crop: Crop | None = None) -> Comparison:
    """Gather the outputs of one LR image.

    Args:
        study: for the order of the methods.
        workspace: holds the outputs.
        rows: of `stage.outputs`, those of one LR image; at least one.
        crop: by default, where the methods disagree most.

    Raises:
        DiscernError: the crop is not inside the image, or an image of the workspace is damaged.
    """
    by_method = {row["method"]: row for row in rows.to_dict("records")}
    made = [by_method[method] for method in study.method_ids if method in by_method]
    width, height = int(made[0]["width"]) // study.scale, int(made[0]["height"]) // study.scale
    if crop is not None:
        crop.check_inside(made[0]["stem"], width, height)
    return Comparison(
        stem=made[0]["stem"],
        low_resolution=made[0]["image"],
        width=width,
        height=height,
        scale=study.scale,
        outputs=tuple(_output(workspace, row) for row in made),
        missing=tuple(method for method in study.method_ids if method not in by_method),
        crop=crop or most_disputed((workspace.get_image(row["sha256"]) for row in made), study.scale),
    )


def page(study: Study, comparison: Comparison, address: Callable[[str], str]) -> str:
    """The page, which needs `base.css`, `comparison.css` and `comparison.js` one folder above itself.

    Args:
        study: for its name.
        comparison: what it shows.
        address: where the image of a pixel hash lies, seen from the page.
    """
    template = templates().get_template("comparison.html")
    return template.render(study=study.name, comparison=comparison, address=address)


def texts(facts: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """What is known of an output as names and texts to read: hashes cut short, units added, nothing where it is null.

    Args:
        facts: such as `record.provenance_of` gives; values of JSON.
    """
    flat = dict(_flat(facts))
    order = [key for key in FIRST if key in flat] + [key for key in flat if key not in FIRST]
    return tuple((key.replace("_", " "), _text(key, flat[key])) for key in order if key not in LEFT_OUT)


def _output(workspace: Workspace, row: Mapping[Any, Any]) -> Output:
    return Output(row["method"], row["sha256"], texts(record.provenance_of(workspace, row)))


def _flat(facts: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in facts.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key} ")
        elif value is not None and value not in ((), [], ""):
            yield prefix + key, value


def _text(key: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return " ".join(_text(key, one) for one in value)
    if key == "peak_memory":
        value = round(value / MEBIBYTE)
    if isinstance(value, float):
        value = int(value) if value.is_integer() else f"{value:.4g}"
    text = re.sub(r"\b[0-9a-f]{64}\b", lambda found: found[0][:12], str(value))
    return f"{text} {UNITS[key]}" if key in UNITS else text
