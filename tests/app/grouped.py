"""A study whose pairs are in two groups: those that MAD chose, and a control group on the images that it left."""

import shutil
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from app.models import LowResolutionImage, Pair
from pipelines import study as studies
from pipelines.selection import selected
from pipelines.super_resolution import stage
from pipelines.workspace import Workspace

if TYPE_CHECKING:
    from tests.app.conftest import Site

Place = tuple[str, int, int]  # stem of the LR image, positions of the two methods


def copy(workspace: Path, folder: Path) -> Path:
    """A copy of the small study's workspace in which each two methods have two pairs more, in the group `random`."""
    shutil.copytree(workspace, folder)
    made = Workspace(folder)
    study, manifest = studies.recorded(folder), selected.manifest(made)
    outputs = stage.outputs(study, made)
    candidates = outputs[outputs["role"] == "candidate"]
    taken = {(row["method_a"], row["method_b"], row["stem"]) for row in manifest.rows()}
    for one, other in combinations(study.method_ids, 2):
        left = [stem for stem in sorted(set(candidates["stem"])) if (one, other, stem) not in taken]
        assert len(left) == 2, "the small study selects 4 of 6 images"
        manifest.append([_row(candidates, one, other, stem, rank) for rank, stem in enumerate(left, 1)])
    return folder


def _row(candidates: Any, one: str, other: str, stem: str, rank: int) -> dict[str, Any]:
    of_stem = candidates[candidates["stem"] == stem].set_index("method")
    return {
        "group": "random",
        "method_a": one,
        "method_b": other,
        "rank": rank,
        "image": of_stem.loc[one, "image"],
        "stem": stem,
        "output_a": of_stem.loc[one, "sha256"],
        "output_b": of_stem.loc[other, "sha256"],
        "distance": 0.1,
        "semantics": 0.0,
        "score": 0.1,
        "rank_by_distance": rank,
    }


def places(site: "Site", group: str) -> set[Place]:
    """Where the pairs of a group are."""
    query = select(LowResolutionImage.stem, Pair.first, Pair.second).join(
        Pair, Pair.low_resolution_image_id == LowResolutionImage.id
    )
    with site.sessions() as db:
        return {(stem, first, second) for stem, first, second in db.execute(query.where(Pair.group == group))}


def panel_votes(site: "Site", *, simulated: bool = False) -> None:
    """Three subjects vote on everything: two of them for the first method of a MAD pair, one for that of a random one.

    Of the 54 votes 36 are on MAD pairs, and the two groups are ranked in opposite order.
    """
    random = places(site, "random")
    for number in range(3):
        site.vote_all(
            lambda *place, number=number: ((int(place[0][-1]) + number) % 3 > 0) != (place in random),
            simulated=simulated,
        )
