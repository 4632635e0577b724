"""How much LR images and people differ: variance components from the terms of the two-way cluster-robust covariance.

A vote t between i and j has the score vector z_t e_t, where e_t = e_i - e_j and E z_t^2 = i_t, the information
phi(d)^2 / (Phi(d) Phi(-d)). Let LR image x shift the score of method i by u_xi, and subject s by w_si, all independent,
with mean 0 and variances tau_image^2 and tau_subject^2. To first order E[z_t | u, w] = i_t e_t'(u_x + w_s), so for two
votes t, t' on one image by two people

    E[z_t z_t' e_t'e_t'] = tau_image^2 i_t i_t' (e_t'e_t')^2.

Summed over all such pairs of votes, the left side is the trace of G_image less that of the votes that share the subject
too, and the right side is known but for tau_image^2: a method of moments. With single votes in the place of votes that
share both, tr G_image - tr G_vote is what the default covariance adds for images. Subjects likewise.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import log_ndtr

from pipelines.ranking.counts import Integers, Votes
from pipelines.ranking.thurstone import Floats, ThurstoneFit, log_density, ratio

# Beyond it two votes on one pair would agree more often than always: half of the variance of a difference is at most 1.
LARGEST = 0.5


@dataclass(frozen=True)
class Components:
    """What votes that share an LR image, or a subject, have in common.

    Attributes:
        image: tau_image^2, in [0, .5], in squared units of the scores; None where the votes do not show it.
        subject: tau_subject^2, likewise.
        overlap: share of LR images that two pairs of methods with a method in common have in common, in [0, 1]; 0 where
            the votes name no images.
    """

    image: float | None
    subject: float | None
    overlap: float


def information(difference: Floats) -> Floats:
    """What one vote tells about the difference of two scores: phi^2 / (Phi(d) Phi(-d)), 2 / pi at most."""
    return np.exp(2 * log_density(difference) - log_ndtr(difference) - log_ndtr(-difference))


def components(votes: Votes, fit: ThurstoneFit) -> Components:
    """Variance components of votes, given the fit to them; negative estimates are 0.

    A component is None where the votes do not name the image, or the subject, name a single one, or have no two votes
    in common by it alone.
    """
    return Components(
        image=_component(votes, fit, votes.image, votes.subject),
        subject=_component(votes, fit, votes.subject, votes.image),
        overlap=_overlap(votes),
    )


def _component(votes: Votes, fit: ThurstoneFit, shared: Integers | None, other: Integers | None) -> float | None:
    if shared is None:
        return None
    number = len(np.unique(shared))
    both = None if other is None else np.unique(np.stack([shared, other]), axis=1, return_inverse=True)[1]
    found, expected = _moments(votes, fit, shared)
    found_of_both, expected_of_both = _moments(votes, fit, both)
    if number < 2 or not expected - expected_of_both > 1e-9 * expected:
        return None
    excess = found * number / (number - 1) - found_of_both
    return float(np.clip(excess / (expected - expected_of_both), 0, LARGEST))


def _moments(votes: Votes, fit: ThurstoneFit, labels: Integers | None) -> tuple[float, float]:
    """Over all votes t, t' of one cluster, t = t' included: sums of z z' e'e', and of i i' (e'e')^2.

    The first is the trace of G; the second the squared Frobenius norm of each cluster's information, a Laplacian.
    Without labels every vote is a cluster.
    """
    difference = fit.scores[votes.winner] - fit.scores[votes.loser]
    pull, weight = ratio(difference), information(difference)
    if labels is None:
        return float(2 * (votes.count * pull**2).sum()), float(4 * (votes.count * weight**2).sum())
    pull, weight = votes.count * pull, votes.count * weight
    size = len(votes.methods)
    ends = np.concatenate([labels * size + votes.winner, labels * size + votes.loser])
    low, high = np.minimum(votes.winner, votes.loser), np.maximum(votes.winner, votes.loser)
    found = _sum_of_squares(ends, np.concatenate([pull, -pull]))
    degrees = _sum_of_squares(ends, np.concatenate([weight, weight]))
    return found, degrees + 2 * _sum_of_squares((labels * size + low) * size + high, weight)


def _sum_of_squares(keys: Integers, values: Floats) -> float:
    """Sum over keys of the squared sum of their values."""
    return float((np.bincount(np.unique(keys, return_inverse=True)[1], values) ** 2).sum())


def _overlap(votes: Votes) -> float:
    if votes.image is None or votes.images is None:
        return 0.0
    low, high = np.minimum(votes.winner, votes.loser), np.maximum(votes.winner, votes.loser)
    pairs, pair = np.unique(np.stack([low, high], axis=1), axis=0, return_inverse=True)
    shown = np.zeros((len(pairs), len(votes.images)))
    shown[pair, votes.image] = 1
    number = shown.sum(axis=1)
    related = (pairs[:, None, :, None] == pairs[None, :, None, :]).any(axis=(2, 3)) & ~np.eye(len(pairs), dtype=bool)
    most = np.sqrt(number[:, None] * number[None, :])[related].sum()
    return float((shown @ shown.T)[related].sum() / most) if most else 0.0
