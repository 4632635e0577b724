"""From a workspace to what the server keeps of it: the selected pairs, their LR images, and all outputs of these."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd
from sqlalchemy import insert, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

from app import image_files
from app.image_files import Source
from app.models import LowResolutionImage, Method, Output, Pair, Study, Tally
from app.store import Store
from pipelines.errors import DiscernError
from pipelines.progress import Progress
from pipelines.selection import selected
from pipelines.super_resolution import record
from pipelines.workspace import Workspace

Sizes = Mapping[str, tuple[int, int]]


@dataclass(frozen=True)
class Contents:
    """What is imported of a workspace.

    Attributes:
        pairs: the selected pairs, each once; columns as in the manifest.
        outputs: all outputs of the LR images that are in some pair; columns `image`, `method`, `sha256`.
    """

    pairs: pd.DataFrame
    outputs: pd.DataFrame


def read(workspace: Workspace, methods: Sequence[str]) -> Contents:
    """What a workspace holds for people to look at.

    Raises:
        DiscernError: nothing is selected in it.
    """
    pairs = selected.manifest(workspace).read()
    if pairs.empty:
        raise DiscernError(f"{workspace.root}: no pairs were selected; run the study to its end with `discern run`")
    pairs = pairs.drop_duplicates(["image", "method_a", "method_b"])
    # Not the stem: files may have been renamed or swapped since the selection, and their pixels tell which is which.
    names = ["image", "method", "sha256"]
    sides = [pairs[["image", f"method_{side}", f"output_{side}"]].set_axis(names, axis=1) for side in "ab"]
    all_made = made(workspace, methods)
    others = all_made[all_made["image"].isin(pairs["image"])][names]
    # Votes are on the outputs that were selected, whatever has been made anew since.
    return Contents(pairs, pd.concat([*sides, others]).drop_duplicates(["image", "method"]))


def made(workspace: Workspace, methods: Sequence[str]) -> pd.DataFrame:
    """All outputs of these methods that are up to date, as `record.current` has them."""
    known = (workspace.read_provenance("super_resolution") or {"methods": {}})["methods"]
    return record.current(workspace, {name: known[name]["fingerprint"] for name in methods if name in known})


def store_images(db: Session, workspace: Workspace, store: Store, contents: Contents, progress: Progress) -> Sizes:
    """Copy every image that a trial or an experimenter will see, after a check of its pixels; returns their sizes."""
    shown = {*contents.pairs["output_a"], *contents.pairs["output_b"]}
    hashes = sorted({*contents.outputs["image"], *contents.outputs["sha256"]})
    sources = [Source(partial(image_files.of_workspace, workspace, sha256), sha256 in shown) for sha256 in hashes]
    return {kept.sha256: (kept.width, kept.height) for kept in image_files.keep(db, store, sources, progress)}


def insert_all(db: Session, study: Study, methods: Sequence[str], contents: Contents, sizes: Sizes) -> None:
    """In flow order: methods, LR images, outputs, pairs, and a tally for people and one for simulated subjects."""
    insert_methods(db, study, methods)
    insert_low_resolution(db, study, contents.pairs, sizes)
    insert_outputs(db, study, contents, sizes)
    insert_pairs(db, study, contents.pairs)


def insert_methods(db: Session, study: Study, methods: Sequence[str], first: int = 0) -> None:
    """Add methods, whose places in study order begin with `first`."""
    rows = [{"study_id": study.id, "position": index, "name": name} for index, name in enumerate(methods, first)]
    if rows:
        db.execute(insert(Method), rows)


def insert_outputs(db: Session, study: Study, contents: Contents, sizes: Sizes) -> None:
    """Add the outputs that the study does not have yet; those that it has stay as they are."""
    images, position = _images(db, study), _positions(db, study)
    rows = [
        {
            "study_id": study.id,
            "low_resolution_image_id": images[row["image"]],
            "method_position": position[row["method"]],
            "sha256": row["sha256"],
            "width": sizes[row["sha256"]][0],
            "height": sizes[row["sha256"]][1],
        }
        for row in contents.outputs.to_dict("records")
        # A method that came later to the study file is in no pair that is voted on here.
        if row["method"] in position
    ]
    once = ["low_resolution_image_id", "method_position"]
    db.execute(postgresql.insert(Output).on_conflict_do_nothing(index_elements=once), rows)


def insert_low_resolution(db: Session, study: Study, pairs: pd.DataFrame, sizes: Sizes) -> None:
    """Add the LR images that are in some pairs, under the stems they were selected under."""
    named = sorted(set(zip(pairs["stem"], pairs["image"], strict=True)))
    rows = [
        {"study_id": study.id, "stem": stem, "sha256": sha256, "width": sizes[sha256][0], "height": sizes[sha256][1]}
        for stem, sha256 in named
    ]
    if rows:
        db.execute(insert(LowResolutionImage), rows)


def insert_pairs(db: Session, study: Study, pairs: pd.DataFrame) -> None:
    """Add pairs, each with a tally for people and one for simulated subjects."""
    rows = _pairs(db, study, pairs)
    if rows:
        keys = db.scalars(insert(Pair).returning(Pair.id), rows).all()
        db.execute(insert(Tally), [{"pair_id": key, "simulated": s} for key in keys for s in (False, True)])


def _pairs(db: Session, study: Study, pairs: pd.DataFrame) -> list[dict[str, Any]]:
    images, position = _images(db, study), _positions(db, study)
    query = select(Output.low_resolution_image_id, Output.method_position, Output.id)
    outputs = {(image, method): key for image, method, key in db.execute(query.where(Output.study_id == study.id))}
    rows = []
    for row in pairs.to_dict("records"):
        image = images[row["image"]]
        first, second = sorted((position[row["method_a"]], position[row["method_b"]]))
        facts = {name: row[name] for name in ("group", "rank", "distance", "semantics", "score")}
        keys = {"first_output_id": outputs[image, first], "second_output_id": outputs[image, second]}
        place = {"study_id": study.id, "low_resolution_image_id": image, "first": first, "second": second}
        rows.append(place | keys | facts)
    return rows


def _images(db: Session, study: Study) -> dict[str, int]:
    """The keys of the study's LR images by their pixel hashes."""
    query = select(LowResolutionImage.sha256, LowResolutionImage.id).where(LowResolutionImage.study_id == study.id)
    return dict(db.execute(query).all())


def _positions(db: Session, study: Study) -> dict[str, int]:
    return dict(db.execute(select(Method.name, Method.position).where(Method.study_id == study.id)).all())
