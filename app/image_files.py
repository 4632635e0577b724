"""Images on their way into the store: PNG, and lossless WebP beside it where that is smaller and proved to be equal.

WebP's `method` 4 and `quality` 20, which say how much effort is made: outputs of networks take 0.77 of the bytes of
their PNG files, after 0.18 s per megapixel; the most effort saves half a percent more, and takes twice as long.
"""

import io
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass

import numpy as np
from PIL import Image
from sqlalchemy import select
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

from app.models import ImageFile
from app.store import Store
from pipelines import images
from pipelines.images import Pixels
from pipelines.progress import Progress
from pipelines.workspace import Workspace

LONGEST_WEBP_SIDE = 16383
EFFORT = {"method": 4, "quality": 20}


@dataclass(frozen=True, eq=False)
class Picture:
    """Pixels, their hash, and how to come by a PNG file of them."""

    sha256: str
    pixels: Pixels
    png: Callable[[], bytes]


@dataclass(frozen=True)
class Source:
    """Where a picture comes from, and whether subjects will see it: then WebP is worth its time."""

    picture: Callable[[], Picture]
    shown: bool


@dataclass(frozen=True)
class Kept:
    """An image that is in the store; `webp_bytes` is None where there is PNG alone."""

    sha256: str
    width: int
    height: int
    png_bytes: int
    webp_bytes: int | None


def of_workspace(workspace: Workspace, sha256: str) -> Picture:
    """An image that lies in a workspace.

    Raises:
        WorkspaceError: it is missing or damaged.
    """
    return Picture(sha256, workspace.get_image(sha256), workspace.image_path(sha256).read_bytes)


def made(pixels: Pixels) -> Picture:
    """An image that lies nowhere yet."""
    return Picture(images.pixel_hash(pixels), pixels, lambda: images.encode_png(pixels))


def keep(
    db: Session, store: Store, sources: Sequence[Source], progress: Progress, task: str = "storing images"
) -> list[Kept]:
    """Put images into the store, and those that subjects see into the table; several at a time, in threads.

    Returns:
        What is in the store now, in the order of `sources`.
    """
    known = {row.sha256: row.webp_bytes for row in db.scalars(select(ImageFile))}
    with ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="images") as pool:
        try:
            jobs = [pool.submit(_keep, store, source, known) for source in sources]
            for done, job in enumerate(as_completed(jobs), 1):
                job.result()
                progress(task, done, len(jobs))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    kept = [job.result() for job in jobs]
    shown = {one for one, source in zip(kept, sources, strict=True) if source.shown}
    _insert(db, [one for one in shown if known.get(one.sha256, 0) != one.webp_bytes])
    return kept


def lossless_webp(pixels: Pixels) -> bytes | None:
    """Pixels as a lossless WebP file; None where it cannot be that large."""
    if max(pixels.shape[:2]) > LONGEST_WEBP_SIDE:
        return None
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", lossless=True, exact=True, **EFFORT)
    return buffer.getvalue()


def _keep(store: Store, source: Source, known: Mapping[str, int | None]) -> Kept:
    picture = source.picture()
    size = store.image_bytes(picture.sha256)
    if size is None:
        png = picture.png()
        store.put_image(picture.sha256, png)
        size = len(png)
    webp = _keep_webp(store, picture, size, known) if source.shown else None
    height, width = picture.pixels.shape[:2]
    return Kept(picture.sha256, width, height, size, webp)


def _keep_webp(store: Store, picture: Picture, png_bytes: int, known: Mapping[str, int | None]) -> int | None:
    there = store.image_bytes(picture.sha256, "webp")
    if picture.sha256 in known and known[picture.sha256] == there:
        return there
    # What an import that was interrupted has left is proved like anything else.
    webp = lossless_webp(picture.pixels) if there is None else store.image(picture.sha256, "webp")
    if webp is None or len(webp) >= png_bytes or not np.array_equal(images.decode_bytes(webp), picture.pixels):
        return None
    store.put_image(picture.sha256, webp, "webp")
    return len(webp)


def _insert(db: Session, kept: Sequence[Kept]) -> None:
    rows = [asdict(one) for one in sorted(kept, key=lambda one: one.sha256)]
    if rows:
        added = postgresql.insert(ImageFile)
        sizes = {name: added.excluded[name] for name in ("png_bytes", "webp_bytes")}
        db.execute(added.on_conflict_do_update(index_elements=["sha256"], set_=sizes), rows)
