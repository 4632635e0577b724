"""The covariance of all scores once a new method has been voted on, before anybody has.

A finished study gets a method n that is compared with m anchors among the old methods, on K LR images each, by S people
who each vote at most once on an image pair. Old and new votes are then fitted together, so that in the terms of
`intervals` V = H^-1 G H^-1 with

    H = H_old + sum over anchors a of K v i_a e_a e_a',         e_a = e_n - e_a,  i_a = information(mu_n - mu_a)
    G = G_old + sum over a, b of (K v i_a [a = b] + i_a i_b (C_image + C_subject)_ab) e_a e_b'

v being the votes on each image pair. G_old = H_old V_old H_old holds the anchors' own uncertainty, by default the
two-way cluster-robust one. The bracket is the covariance of the summed z of a and of b: every vote brings i_a, and two
votes that share an image i_a i_b tau_image^2 e_a'e_b, where e_a'e_b is 2 if a = b and 1 otherwise (see `components`).
Counting such pairs of votes, with w = K v / S votes of each subject on each anchor, and two anchors' images agreeing in
a share rho:

    C_image   = tau_image^2   K (2 v (v - 1) on the diagonal, rho v^2 beside it)
    C_subject = tau_subject^2 S (2 w (w - 1) on the diagonal,     w^2 beside it)

For one anchor whose score is certain this is

    Var(mu_n) = 1 / (K v i) + 2 tau_image^2 (v - 1) / (K v) + 2 tau_subject^2 (w - 1) / (S w):

votes, images, and people; the first term alone goes to 0 with the votes. mu_n is not known beforehand, so variances
are averaged over scores spread evenly from the lowest to the highest old one. That new pairs may show old LR images, or
old subjects come back, is not counted on: an anchor's luck on an image then enters its old score and the comparison
with opposite signs, and the standard error is smaller.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import helmert

from pipelines.ranking.components import information
from pipelines.ranking.intervals import RobustCovariance
from pipelines.ranking.thurstone import Floats, ThurstoneFit

POSITIONS = 21


@dataclass(frozen=True, eq=False)
class Design:
    """What the formulas above need.

    Attributes:
        fit: of the votes on the N old methods.
        covariance: of their scores, V_old.
        anchors: indices of the old methods that the new one is compared with.
        images: K, LR images for each anchor.
        subjects: S, people who vote.
        tau_image: tau_image^2.
        tau_subject: tau_subject^2.
        overlap: rho, in [0, 1].
    """

    fit: ThurstoneFit
    covariance: RobustCovariance
    anchors: tuple[int, ...]
    images: int
    subjects: int
    tau_image: float
    tau_subject: float
    overlap: float


def positions(fit: ThurstoneFit) -> Floats:
    """Where the new score may lie: (positions,) float64."""
    return np.linspace(fit.scores.min(), fit.scores.max(), POSITIONS)


def covariances(design: Design, votes_per_pair: int) -> Floats:
    """V for each position of the new score, which is the last: (positions, N + 1, N + 1)."""
    old, anchors = len(design.fit.methods), list(design.anchors)
    edges = -np.eye(old + 1)[anchors]
    edges[:, old] = 1
    told = information(positions(design.fit)[:, None] - design.fit.scores[anchors])
    each = design.images * votes_per_pair
    own, bread = np.zeros((2, old + 1, old + 1))
    bread[:old, :old] = design.fit.information
    own[:old, :old] = design.fit.information @ design.covariance.matrix @ design.fit.information
    shared = told[:, :, None] * told[:, None, :] * _shared(design, votes_per_pair)
    spread = shared + each * told[:, :, None] * np.eye(len(anchors))
    meat = own + edges.T @ spread @ edges
    basis = helmert(old + 1).T
    information_of_all = bread + edges.T @ (each * told[:, :, None] * edges)
    inverse = basis @ np.linalg.inv(basis.T @ information_of_all @ basis) @ basis.T
    expected: Floats = inverse @ meat @ inverse
    return expected


def _shared(design: Design, votes_per_pair: int) -> Floats:
    """C_image + C_subject: (anchors, anchors)."""
    size, on_image = len(design.anchors), float(votes_per_pair)
    by_subject = design.images * on_image / design.subjects
    image = np.full((size, size), design.overlap * on_image**2)
    np.fill_diagonal(image, 2 * on_image * (on_image - 1))
    subject = np.full((size, size), by_subject**2)
    np.fill_diagonal(subject, 2 * by_subject * max(by_subject - 1, 0))
    return design.tau_image * design.images * image + design.tau_subject * design.subjects * subject
