"""How the missing outputs of a study are split among workers."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from app.admins.jobs import Queue
from app.admins.preruns import queue_for
from pipelines.study import Study
from pipelines.study_methods import External, Method
from pipelines.super_resolution import methods
from pipelines.super_resolution.stage import Part


@dataclass(frozen=True)
class Share:
    """What one worker is given at a time.

    Attributes:
        method: its id in the study.
        slot: name of the share among those of the method.
        images: sha256 of the LR images.
        queue: the workers that may take it.
    """

    method: str
    slot: str
    images: tuple[str, ...]
    queue: Queue


def shares(study: Study, images: Sequence[str], missing: Sequence[Part], size: int) -> tuple[Share, ...]:
    """Split what is missing, method by method, at the same places whatever is missing.

    A share that is done in part, and split off again later, so keeps its slot, where a program may have left outputs.

    Args:
        study: names the methods.
        images: sha256 of all LR images, in an order that stays.
        missing: what has to be made.
        size: how many images a share has at most.
    """
    place = {sha256: index for index, sha256 in enumerate(images)}
    described = {method.id: method for method in study.methods}
    return tuple(share for part in missing for share in _split(study, described[part.method], part.images, place, size))


def _split(study: Study, method: Method, images: Sequence[str], place: Mapping[str, int], size: int) -> Iterator[Share]:
    queue = queue_for(method.kind, study.execution.device)
    if isinstance(method, External) and not methods.program(study, method).has_private_results:
        yield Share(method.id, "all", tuple(images), queue)
        return
    bundles: dict[int, list[str]] = defaultdict(list)
    for image in images:
        bundles[place[image] // size].append(image)
    for number, bundle in sorted(bundles.items()):
        yield Share(method.id, f"part-{number + 1:04d}", tuple(bundle), queue)
