"""A study that has been voted on gets another method: what a workspace has beyond the study, and adding just that.

Votes belong to the outputs they were cast on, so all that the study has must be in the workspace as it was. What is
there is found by its pixels: files of LR images may have been renamed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import study_import
from app.models import LowResolutionImage, Method, Output, Pair, Study
from app.study_import import Contents, Sizes
from pipelines.errors import DiscernError

PairKey = tuple[str, str, str]


@dataclass(frozen=True, eq=False)
class Extension:
    """What a workspace has beyond a study.

    Attributes:
        methods: in study order, after the study's own.
        pairs: rows of the manifest.
        images: rows of the manifest, one for each LR image that the study does not have.
    """

    methods: tuple[str, ...]
    pairs: pd.DataFrame
    images: pd.DataFrame


@dataclass(frozen=True)
class _Stored:
    """What a study has: methods in order, LR images and outputs by pixels, pairs by image and methods in order."""

    methods: list[str]
    stems: dict[str, str]
    outputs: dict[tuple[str, str], str]
    pairs: set[PairKey]


def find(db: Session, study: Study, methods: Sequence[str], contents: Contents) -> Extension:
    """Compare a workspace with a study.

    Args:
        db: has the study.
        study: which one.
        methods: of the workspace's study file, in its order.
        contents: of the workspace.

    Raises:
        DiscernError: something that the study has is not in the workspace, or is another; the message says what.
    """
    stored = _stored(db, study)
    in_pairs = {*contents.pairs["method_a"], *contents.pairs["method_b"]}
    # One that is in no pair yet comes with its pairs.
    shown = [name for name in methods if name in in_pairs or name in stored.methods]
    if shown[: len(stored.methods)] != stored.methods:
        raise DiscernError(
            f"the study's methods are {', '.join(stored.methods)}, those of the workspace {', '.join(shown)}: "
            "its own must come first, in this order"
        )
    keys = [_key(row, shown) for row in contents.pairs.to_dict("records")]
    _check_pairs(stored, contents.pairs, set(keys))
    pairs = contents.pairs[[key not in stored.pairs for key in keys]]
    images = pairs[~pairs["image"].isin(list(stored.stems))].drop_duplicates("image")
    _check_stems(stored, images)
    return Extension(tuple(shown[len(stored.methods) :]), pairs, images)


def add(db: Session, study: Study, extension: Extension, contents: Contents, sizes: Sizes) -> None:
    """In flow order: methods, LR images, outputs, pairs and their tallies; all that the study has stays as it is."""
    first = len(db.scalars(select(Method.id).where(Method.study_id == study.id)).all())
    study_import.insert_methods(db, study, extension.methods, first)
    study_import.insert_low_resolution(db, study, extension.images, sizes)
    study_import.insert_outputs(db, study, contents, sizes)
    study_import.insert_pairs(db, study, extension.pairs)
    db.expire(study, ["methods"])


def _key(row: Mapping[Any, Any], order: Sequence[str]) -> PairKey:
    first, second = sorted((row["method_a"], row["method_b"]), key=order.index)
    return row["image"], first, second


def _stored(db: Session, study: Study) -> _Stored:
    methods = db.scalars(select(Method.name).where(Method.study_id == study.id).order_by(Method.position)).all()
    image, output = LowResolutionImage, Output
    stems = dict(db.execute(select(image.sha256, image.stem).where(image.study_id == study.id)).all())
    of_image = output.low_resolution_image_id == image.id
    made = select(image.sha256, output.method_position, output.sha256).join(image, of_image)
    shown = select(image.sha256, Pair.first, Pair.second).join(image, Pair.low_resolution_image_id == image.id)
    return _Stored(
        methods=list(methods),
        stems=stems,
        outputs={
            (x, methods[position]): sha256
            for x, position, sha256 in db.execute(made.where(output.study_id == study.id))
        },
        pairs={(x, methods[a], methods[b]) for x, a, b in db.execute(shown.where(Pair.study_id == study.id))},
    )


def _check_pairs(stored: _Stored, pairs: pd.DataFrame, keys: set[PairKey]) -> None:
    missing = sorted(stored.pairs - keys)
    if missing:
        image, first, second = missing[0]
        raise DiscernError(
            f"{len(missing)} of the study's {len(stored.pairs)} pairs are not selected in the workspace, such as "
            f"{first} and {second} on {stored.stems[image]!r}"
        )
    for side in "ab":
        for image, method, sha256 in pairs[["image", f"method_{side}", f"output_{side}"]].itertuples(index=False):
            if stored.outputs.get((image, method), sha256) != sha256:
                raise DiscernError(f"{method} made another output of {stored.stems[image]!r} than the study has")


def _check_stems(stored: _Stored, images: pd.DataFrame) -> None:
    taken = sorted(set(images["stem"]) & set(stored.stems.values()))
    if taken:
        raise DiscernError(f"{taken[0]!r} is now the name of another LR image than in the study; rename its file")
