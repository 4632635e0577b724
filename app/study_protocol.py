"""How a study's subjects are asked, as its import brings it: references, and probes."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd
from sqlalchemy import select, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

from app import image_files, probes, study_import
from app.image_files import Picture, Source
from app.models import LowResolutionImage, Probe, Study, Subject
from app.probes import Kind, Material, Wish, Worse
from app.references import References
from app.store import Store
from app.study_import import Contents, Sizes
from pipelines import ingest
from pipelines import study as study_files
from pipelines.errors import DiscernError
from pipelines.progress import Progress
from pipelines.workspace import Workspace

VOTED_ON = "trials that do not count show images that are voted on too: no other LR image has outputs"


@dataclass(frozen=True)
class Asked:
    """What an import brings beside pairs; its images are in the store.

    Attributes:
        references: pixel hashes by those of LR images in some pair; empty where the protocol shows none.
        probes: rows, but for the study; those that the study has already are among them.
        notes: what to tell about them.
    """

    references: Mapping[str, str]
    probes: Sequence[Mapping[str, str | None]]
    notes: tuple[str, ...]


def prepare(
    db: Session,
    workspace: Workspace,
    store: Store,
    description: study_files.Study,
    contents: Contents,
    sizes: Sizes,
    study: Study | None,
    progress: Progress,
) -> Asked:
    """Make references and probes, and put their images into the store.

    Args:
        db: what is known of images, and of the study.
        workspace: has LR images and outputs.
        store: gets what is made.
        description: of the workspace.
        contents: of the workspace.
        sizes: of the images in `contents`.
        study: that is added to; None for a new one.
        progress: called after each image.

    Raises:
        DiscernError: an image has no reference, or one of another size, or probes cannot be made.
    """
    making = _Making(db, workspace, store, description, contents, sizes, progress)
    references = making.references()
    wanted = probes.numbers(description.protocol, len(contents.pairs))
    if not any(wanted.values()):
        return Asked(references, (), ())
    unused, used = making.materials()
    planned = probes.plan(wanted, unused or used, description.name)
    _check_planned(wanted, planned)
    rows = making.probes(_needed(db, study, wanted, planned), voted_on=not unused)
    return Asked(references, rows, () if unused else (VOTED_ON,))


def add(db: Session, study: Study, asked: Asked) -> None:
    """Add the probes that a study lacks, and let references be those of its newest protocol."""
    _check_references(db, study, asked)
    for image, reference in asked.references.items():
        of_image = (LowResolutionImage.study_id == study.id) & (LowResolutionImage.sha256 == image)
        db.execute(update(LowResolutionImage).where(of_image).values(reference_sha256=reference))
    if asked.probes:
        added = postgresql.insert(Probe)
        once = ["study_id", "kind", "first_sha256", "second_sha256"]
        newest = {"reference_sha256": added.excluded.reference_sha256}
        rows = [{"study_id": study.id, **row} for row in asked.probes]
        db.execute(added.on_conflict_do_update(index_elements=once, set_=newest), rows)


def _check_references(db: Session, study: Study, asked: Asked) -> None:
    """Refuse others than those that subjects have seen: an image has one, by which votes on it were cast."""
    if db.scalar(select(Subject.id).where(Subject.study_id == study.id).limit(1)) is None:
        return
    image = LowResolutionImage
    query = select(image.stem, image.sha256, image.reference_sha256).where(image.study_id == study.id)
    for stem, sha256, reference in db.execute(query.where(image.reference_sha256.is_not(None))):
        if asked.references.get(sha256, reference) != reference:
            raise DiscernError(
                f"protocol.reference: subjects have begun with another reference of {stem!r} than this; "
                "put the earlier value back, or import under another name"
            )


def _check_planned(wanted: Mapping[Kind, int], planned: Sequence[Wish]) -> None:
    found = {wish.kind for wish in planned}
    for kind, number in wanted.items():
        if number and kind not in found:
            raise DiscernError(
                f"protocol: it asks for {kind} trials, but no LR image has the outputs for one, of the size of its "
                "reference: run the study again, or ask for none"
            )


def _needed(db: Session, study: Study | None, wanted: Mapping[Kind, int], planned: Sequence[Wish]) -> list[Wish]:
    """What the study has, so that lost images are put back, and as many others as it lacks."""
    if study is None:
        return list(planned)
    query = select(Probe.kind, Probe.first_sha256).where(Probe.study_id == study.id)
    known = Counter((kind, first) for kind, first in db.execute(query))
    room = Counter[str](wanted) - Counter(kind for kind, _ in known.elements())
    needed = []
    for wish in planned:
        if known[wish.kind, wish.first]:
            known[wish.kind, wish.first] -= 1
        elif room[wish.kind]:
            room[wish.kind] -= 1
        else:
            continue
        needed.append(wish)
    return needed


class _Making:
    """What references and probes of an import are made of."""

    def __init__(
        self,
        db: Session,
        workspace: Workspace,
        store: Store,
        description: study_files.Study,
        contents: Contents,
        sizes: Sizes,
        progress: Progress,
    ) -> None:
        self._keep = partial(image_files.keep, db, store, progress=progress)
        self._workspace, self._description = workspace, description
        self._in_pairs = contents.pairs
        self._outputs = _all_outputs(workspace, description.method_ids, contents, sizes)
        self._sizes = {row["sha256"]: (row["width"], row["height"]) for row in self._outputs.to_dict("records")}
        self._low = ingest.manifest(workspace).read().set_index("sha256")
        names = self._outputs[["image", "method", "sha256"]].itertuples(index=False)
        of_method: dict[tuple[str, str], str] = {(image, method): sha256 for image, method, sha256 in names}
        stems = dict(self._low["stem"]) | dict(contents.pairs[["image", "stem"]].itertuples(index=False))
        self._references = References(workspace, description.protocol, description.scale, of_method, stems)

    @property
    def _has_references(self) -> bool:
        return self._description.protocol.reference != "none"

    def references(self) -> dict[str, str]:
        """The references of the images in pairs, in the store."""
        if not self._has_references:
            return {}
        sides = [self._in_pairs[["image", f"output_{side}"]].set_axis(["image", "output"], axis=1) for side in "ab"]
        shown = pd.concat(sides).drop_duplicates()
        sources = [
            Source(partial(self._references.picture, image, self._sizes[output]), shown=True)
            for image, output in shown.itertuples(index=False)
        ]
        kept = self._keep(sources, task="storing references")
        return {image: one.sha256 for image, one in zip(shown["image"], kept, strict=True)}

    def materials(self) -> tuple[list[Material], list[Material]]:
        """LR images and their outputs: those that are in no pair, and those that are in some."""
        voted_on = set(self._in_pairs["image"])
        found = [
            material
            for image, rows in self._outputs.groupby("image")
            if (material := self._material(str(image), rows)) is not None
        ]
        return (
            [material for material in found if material.image not in voted_on],
            [material for material in found if material.image in voted_on],
        )

    def _material(self, image: str, rows: pd.DataFrame) -> Material | None:
        """The outputs of an image of one size, which is that of its reference, if there is one."""
        _, same = max(rows.groupby(["width", "height"]), key=lambda size: len(size[1]), default=(None, None))
        if same is None:
            return None
        of_method: dict[str, str] = dict(same[["method", "sha256"]].itertuples(index=False))
        outputs = {name: of_method[name] for name in self._description.method_ids if name in of_method}
        method = self._description.protocol.reference_method
        if method is not None:
            return Material(image, outputs) if method in outputs else None
        if self._has_references:
            low, scale = self._low.loc[image], self._description.scale
            if self._sizes[next(iter(outputs.values()))] != (low["width"] * scale, low["height"] * scale):
                return None
        return Material(image, outputs)

    def probes(self, wishes: Sequence[Wish], *, voted_on: bool) -> list[dict[str, str | None]]:
        """Rows for probes, whose images are in the store."""
        words: dict[Wish, str] = {}
        sources = [source for wish in wishes for source in self._sources(wish, words)]
        kept = iter(self._keep(sources, task="storing trials that do not count"))
        rows = []
        for wish in wishes:
            made = words.get(wish, " and ".join(wish.methods)) + ("; voted on" if voted_on else "")
            row = {"kind": wish.kind, "content": wish.image, "made": made}
            hashes = {f"{part}_sha256": next(kept).sha256 for part in ("first", "second")}
            reference = next(kept).sha256 if self._has_references else None
            rows.append({**row, **hashes, "reference_sha256": reference})
        return rows

    def _sources(self, wish: Wish, words: dict[Wish, str]) -> list[Source]:
        pictures: list[Any] = [partial(image_files.of_workspace, self._workspace, wish.first)]
        if isinstance(wish.second, Worse):
            pictures.append(partial(self._worse, wish, wish.second, words))
        else:
            pictures.append(partial(image_files.of_workspace, self._workspace, wish.second))
        if self._has_references:
            pictures.append(partial(self._references.picture, wish.image, self._sizes[wish.first]))
        return [Source(picture, shown=True) for picture in pictures]

    def _worse(self, wish: Wish, worse: Worse, words: dict[Wish, str]) -> Picture:
        pixels, how = probes.worsen(self._workspace.get_image(wish.first), worse, self._description.scale)
        words[wish] = f"{wish.methods[0]}, and it worse: {how}"
        return image_files.made(pixels)


def _all_outputs(workspace: Workspace, methods: Sequence[str], contents: Contents, sizes: Sizes) -> pd.DataFrame:
    """Those that are imported, and those of LR images in no pair: `image`, `method`, `sha256`, `width`, `height`."""
    imported = contents.outputs.assign(
        width=[sizes[one][0] for one in contents.outputs["sha256"]],
        height=[sizes[one][1] for one in contents.outputs["sha256"]],
    )
    made = study_import.made(workspace, methods).dropna(subset=["width", "height"])
    others = made[~made["image"].isin(contents.outputs["image"])]
    return pd.concat([imported, others[list(imported.columns)]], ignore_index=True)
