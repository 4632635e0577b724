"""Who may learn from what: training, held-out and voted content are kept apart by source."""

from collections.abc import Iterable

import numpy as np

from pipelines.errors import DiscernError

HELD_OUT_SHARE = 0.2


def held_out_sources(
    unlabelled: Iterable[str], rated: Iterable[str], asked_for: Iterable[str], seed: int
) -> frozenset[str]:
    """The sources on which nothing is trained, so that the number of epochs can be chosen on them.

    Args:
        unlabelled: sources of the unlabelled images.
        rated: sources of the rated images.
        asked_for: what the study file says; where it says nothing, a fifth of the unlabelled sources is drawn, and a
            fifth of the rated sources that are not among them.
        seed: of the draws.

    Raises:
        DiscernError: an unknown source is asked for, or the unlabelled or the rated images would all lie on one side.
    """
    groups = {"unlabelled": frozenset(unlabelled), "rated": frozenset(rated)}
    wanted = frozenset(asked_for)
    unknown = sorted(wanted - groups["unlabelled"] - groups["rated"])
    if unknown:
        known = ", ".join(sorted(groups["unlabelled"] | groups["rated"])[:10])
        raise DiscernError(f"calibration.held_out: no image has the source {unknown[0]!r}; known are {known}")
    if not wanted:
        random = np.random.default_rng(seed)
        wanted = _draw(groups["unlabelled"], random) | _draw(groups["rated"] - groups["unlabelled"], random)
    for name, sources in groups.items():
        if not sources & wanted or not sources - wanted:
            raise DiscernError(
                f"calibration.held_out: of {len(sources)} source(s) of {name} images {len(sources & wanted)} are held "
                "out; some must be, and some not: add images of other sources, or name others"
            )
    return wanted


def _draw(sources: frozenset[str], random: np.random.Generator) -> frozenset[str]:
    if not sources:
        return frozenset()
    known = sorted(sources)
    count = max(1, round(HELD_OUT_SHARE * len(known)))
    return frozenset(known[index] for index in random.permutation(len(known))[:count])
