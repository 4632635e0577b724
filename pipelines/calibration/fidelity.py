"""Eqs. (3)-(5): from scores to pair labels, from quality differences to preferences, and the loss between them.

The fidelity loss is Tsai et al., "FRank: a ranking method with fidelity loss" (2007): one minus the Bhattacharyya
coefficient of two coin tosses. Unlike cross entropy it is bounded, and zero wherever the prediction is right, for a
label of 1/2 as well.
"""

import math

import torch
from torch import Tensor

# Below this the square root goes on as a straight line to zero: its own slope there is infinite.
FLOOR = 1e-8


def pair_label(first: Tensor, second: Tensor) -> Tensor:
    """Eq. (3): r = 1 where the first score is higher, 0.5 where both are equal, 0 otherwise.

    Args:
        first: ranking scores mu_i or MOS, of any shape.
        second: of the same shape.
    """
    return (torch.sign(first - second) + 1) / 2


def ranking_label(scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Eq. (3) for all pairs of methods.

    Args:
        scores: (N,) ranking scores mu.

    Returns:
        Indices i and j, i < j, of the N (N - 1) / 2 pairs, and the label r_ij of each.
    """
    first, second = torch.triu_indices(len(scores), len(scores), offset=1)
    return first, second, pair_label(scores[first], scores[second])


def preference(difference: Tensor) -> Tensor:
    """Eq. (4): rhat = Phi(d / sqrt 2), the probability that the first is preferred (Thurstone's case V, unit variance).

    Args:
        difference: d, mean quality of the first less that of the second, of any shape.
    """
    # As a complementary error function: `ndtr` loses all digits of small probabilities in float32.
    rhat: Tensor = torch.special.erfc(-difference / 2) / 2
    return rhat


def fidelity_loss(label: Tensor, predicted: Tensor) -> Tensor:
    """Eq. (5): 1 - sqrt(r rhat) - sqrt((1 - r)(1 - rhat)), element by element.

    Products below 1e-8 (rhat all but 0 or 1) have a straight line in place of their root, so that the gradient stays
    finite. A floor alone would make the loss negative where r = rhat = 1.

    Args:
        label: r, in [0, 1].
        predicted: rhat, in [0, 1], of the same shape.

    Returns:
        In [0, 1]; 0 where both are equal (up to 3e-5 where both lie within 1e-4 of 0 or 1, but not on it).
    """
    loss = 1 - _root(label * predicted) - _root((1 - label) * (1 - predicted))
    return loss.clamp(min=0)


def _root(product: Tensor) -> Tensor:
    line = product / math.sqrt(FLOOR)
    return torch.where(product < FLOOR, line, product.clamp(min=FLOOR).sqrt())
