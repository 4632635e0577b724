"""Variance components against a loop over pairs of votes, and against what was planted."""

from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pytest
from scipy.stats import norm

from pipelines.ranking.components import Components, components, information
from pipelines.ranking.counts import Votes, count_matrix
from pipelines.ranking.thurstone import ThurstoneFit, fit, ratio
from tests.ranking.planted import Truth, panel

EVERY_PAIR = list(combinations(range(4), 2))
SCORES = (0.6, 0.2, -0.2, -0.6)


def drawn(seed: int = 0, subjects: int = 7, images: int = 4, pool: int = 8, **sds: float) -> Votes:
    return panel(
        Truth(SCORES, **sds), EVERY_PAIR, np.random.default_rng(seed), images=images, subjects=subjects, pool=pool
    )


def fitted(votes: Votes) -> ThurstoneFit:
    return fit(count_matrix(votes), methods=votes.methods)


def naive(votes: Votes, result: ThurstoneFit, shared: str, other: str | None) -> float:
    """As the docstring reads: over all pairs of votes that share one thing, and not the other."""
    assert len(set(votes.count.tolist())) == 1
    pulls = ratio(result.scores[votes.winner] - result.scores[votes.loser])
    told = information(result.scores[votes.winner] - result.scores[votes.loser])
    ends = np.eye(len(votes.methods))[votes.winner] - np.eye(len(votes.methods))[votes.loser]
    label = getattr(votes, shared)
    number = len(set(label.tolist()))
    apart = np.arange(len(label)) if other is None else getattr(votes, other)
    found = expected = 0.0
    for t, u in product(range(len(label)), repeat=2):
        if label[t] != label[u]:
            continue
        along = float(ends[t] @ ends[u])
        found += pulls[t] * pulls[u] * along * number / (number - 1)
        if apart[t] == apart[u]:
            found -= pulls[t] * pulls[u] * along
        else:
            expected += told[t] * told[u] * along**2
    return min(max(found / expected, 0.0), 0.5)


@pytest.mark.parametrize("others", [True, False])
@pytest.mark.parametrize(("shared", "other"), [("image", "subject"), ("subject", "image")])
def test_a_component_is_what_a_loop_over_pairs_of_votes_finds(shared: str, other: str, others: bool) -> None:
    votes = drawn(2, pool=12, image_sd=0.6, subject_sd=0.5)
    if not others:
        votes = replace(votes, **{other: None, f"{other}s": None})
    result = fitted(votes)
    found = getattr(components(votes, result), shared)
    assert 0 < found < 0.5
    assert found == pytest.approx(naive(votes, result, shared, other if others else None), rel=1e-9)


def test_components_are_those_that_were_planted() -> None:
    """To first order, on the scale where a vote with all that shifts it has unit variance."""
    found = []
    for seed in range(40):
        votes = drawn(seed, subjects=20, images=12, pool=40, image_sd=0.5, subject_sd=0.3)
        parts = components(votes, fitted(votes))
        found.append((parts.image, parts.subject, parts.overlap))
    image, subject, overlap = np.mean(found, axis=0)
    scale = 1 + 2 * 0.5**2 + 2 * 0.3**2
    assert image == pytest.approx(0.5**2 / scale, rel=0.1)
    assert subject == pytest.approx(0.3**2 / scale, rel=0.15)
    assert overlap == pytest.approx(12 / 40, rel=0.05)


def test_votes_that_nothing_connects_have_no_components() -> None:
    found = [components(votes, fitted(votes)) for votes in (drawn(seed) for seed in range(30))]
    assert np.mean([parts.image for parts in found]) < 0.02
    assert np.mean([parts.subject for parts in found]) < 0.02
    assert min(min(parts.image or 0, parts.subject or 0) for parts in found) == 0  # never below


def test_what_is_not_named_or_stands_alone_shows_nothing() -> None:
    votes = drawn()
    bare = replace(votes, image=None, images=None, subject=None, subjects=None)
    assert components(bare, fitted(bare)) == Components(None, None, 0.0)
    one = drawn(subjects=1, images=8, pool=8, image_sd=1)
    parts = components(one, fit(count_matrix(one), methods=one.methods, ridge=0.1))
    assert parts.subject is None
    assert parts.image is None  # every two votes on an image are by the same person
    assert parts.overlap == 1


def test_aggregated_rows_count_each_of_their_votes() -> None:
    votes = replace(drawn(image_sd=0.6), subject=None, subjects=None)
    rows, count = np.unique(np.stack([votes.winner, votes.loser, votes.image]), axis=1, return_counts=True)  # type: ignore[list-item]
    together = replace(votes, winner=rows[0], loser=rows[1], image=rows[2], count=count)
    one, other = components(together, fitted(together)), components(votes, fitted(votes))
    assert one.image == pytest.approx(other.image)
    assert one.overlap == pytest.approx(other.overlap)


def test_information_of_a_vote() -> None:
    assert information(np.zeros(1))[0] == pytest.approx(2 / np.pi)
    d = np.array([-1.3, 0.4, 2.0])
    np.testing.assert_allclose(information(d), norm.pdf(d) ** 2 / norm.cdf(d) / norm.cdf(-d))
    assert np.isfinite(information(np.array([-30.0, 30.0]))).all()
