"""One LR image and what every method made of it, from the database and the store."""

from collections.abc import Mapping
from threading import Lock
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.comparison import Comparison, Output, texts
from app.crops import Crop, most_disputed
from app.errors import BusyError, UnknownError
from app.models import LowResolutionImage, Method, Study
from app.models import Output as StoredOutput
from app.store import Store
from pipelines.images import decode_bytes

# What the study file says of a method, without the paths of the host that ran it.
DESCRIBED = (
    "kind", "preset", "algorithm", "licence", "weights_sha256", "generator_sha256", "predictor_sha256",
    "precision", "tile", "overlap", "kernel_width", "noise_level", "parameters",
)  # fmt: skip

PATIENCE_SECONDS = 2.0

_reading = Lock()
_disputed_crops: dict[tuple[Store, tuple[str, ...]], Crop] = {}


def comparison(db: Session, store: Store, study: Study, stem: str) -> Comparison:
    """The outputs of an LR image that some pair shows; at first, where the methods disagree most.

    Raises:
        UnknownError: no pair of the study shows such an image.
        BusyError: others have asked for images that take long to read.
        DiscernError: the store has lost one of its images.
    """
    query = select(LowResolutionImage).where(LowResolutionImage.study_id == study.id, LowResolutionImage.stem == stem)
    image = db.scalar(query)
    if image is None:
        raise UnknownError(f"no pair of study {study.name!r} shows an image {stem!r}")
    made = _outputs(db, image)
    described = {method["id"]: method for method in study.description["methods"]}
    scale = next(iter(made.values())).width // image.width
    return Comparison(
        stem=stem,
        low_resolution=image.sha256,
        width=image.width,
        height=image.height,
        scale=scale,
        outputs=tuple(Output(name, output.sha256, _facts(described.get(name, {}))) for name, output in made.items()),
        missing=tuple(method.name for method in study.methods if method.name not in made),
        crop=_disputed(store, tuple(output.sha256 for output in made.values()), scale),
    )


def _outputs(db: Session, image: LowResolutionImage) -> dict[str, StoredOutput]:
    """By method, in study order."""
    at_its_place = (Method.study_id == StoredOutput.study_id) & (Method.position == StoredOutput.method_position)
    query = (
        select(Method.name, StoredOutput)
        .join(StoredOutput, at_its_place)
        .where(StoredOutput.low_resolution_image_id == image.id)
        .order_by(Method.position)
    )
    return dict(db.execute(query).all())


def _facts(method: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    named = {**method, "weights_sha256": method.get("sha256")}
    return texts({key: named[key] for key in DESCRIBED if key in named})


def _disputed(store: Store, outputs: tuple[str, ...], scale: int) -> Crop:
    # The images of a hash never change.
    key = store, outputs
    if key in _disputed_crops:
        return _disputed_crops[key]
    # One at a time: to read all outputs of a large image takes seconds, and memory. Whoever asks meanwhile waits, but
    # not for long: each of them keeps a place that subjects need.
    if not _reading.acquire(timeout=PATIENCE_SECONDS):
        raise BusyError("the outputs of another image are being read; ask again in a moment")
    try:
        if key not in _disputed_crops:
            _disputed_crops[key] = most_disputed((decode_bytes(store.image(one)) for one in outputs), scale)
    finally:
        _reading.release()
    return _disputed_crops[key]
