"""Who may learn from what: training, held-out and voted content are kept apart by source."""

from collections.abc import Iterable

import numpy as np

from pipelines.errors import DiscernError

HELD_OUT_SHARE = 0.2


def held_out_sources(sources: Iterable[str], asked_for: Iterable[str], seed: int) -> frozenset[str]:
    """The sources on which nothing is trained, so that the number of epochs can be chosen on them.

    Args:
        sources: of the unlabelled images.
        asked_for: what the study file says; where it says nothing, a fifth of the sources is drawn, one at least.
        seed: of the draw.

    Raises:
        DiscernError: an unknown source is asked for, or no source is left on one of the two sides.
    """
    known = sorted(set(sources))
    wanted = sorted(set(asked_for))
    unknown = [source for source in wanted if source not in known]
    if unknown:
        raise DiscernError(
            f"calibration.held_out: no unlabelled image has the source {unknown[0]!r}; choose from {', '.join(known)}"
        )
    if not wanted:
        count = max(1, round(HELD_OUT_SHARE * len(known)))
        wanted = [known[i] for i in np.random.default_rng(seed).permutation(len(known))[:count]]
    if len(wanted) >= len(known):
        raise DiscernError(
            f"calibration.held_out: the unlabelled images have {len(known)} source(s) and {len(wanted)} would be held "
            "out; add images of other sources, or hold out fewer"
        )
    return frozenset(wanted)
