"""Stage two: train the rectifier on the ranking of methods and on rated images (Eq. 6), from cached arrays."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipelines.calibration.data import Rated, Unlabelled
from pipelines.calibration.losses import RankingLoss, RatedLoss
from pipelines.calibration.rectifier import Rectifier
from pipelines.errors import DiscernError

# Held-out rated pairs are drawn once; this many leave an error of about .005 in their mean loss.
_HELD_OUT_PAIRS = 4096


@dataclass(frozen=True)
class Options:
    """Settings of stage two; the defaults are the paper's where it gives any.

    Attributes:
        batch: B of Eq. (4), LR images over which qualities are averaged; all, if there are fewer.
        epochs: passes over the unlabelled images. The paper's 8 epochs are about 1,000 steps; few images need more.
        learning_rate: of Adam.
        weight_decay: of AdamW; 0 is Adam.
        rated_weight: lambda2 of Eq. (6).
        hidden: width of the rectifier.
        rated_pairs: pairs for the rated loss: any two images, or two versions of one source content.
        rated_batch: rated pairs in a step.
        seed: of the initial weights and of every draw.
    """

    batch: int = 64
    epochs: int = 8
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    rated_weight: float = 1.0
    hidden: int = 64
    rated_pairs: Literal["random", "same_content"] = "random"
    rated_batch: int = 256
    seed: int = 0


@dataclass(frozen=True)
class Losses:
    """The two terms of Eq. (6), each a mean over pairs.

    Attributes:
        ranking: l1, between the batch means of all pairs of methods.
        rated: l2, between pairs of rated images.
    """

    ranking: float
    rated: float

    def total(self, rated_weight: float) -> float:
        """l1 + lambda2 l2."""
        return self.ranking + rated_weight * self.rated


@dataclass(frozen=True)
class Epoch:
    """Losses after an epoch, on the training part and on the held-out part; epoch 0 is the identity."""

    train: Losses
    held_out: Losses


@dataclass(frozen=True)
class Training:
    """A trained rectifier.

    Attributes:
        state: the rectifier's state dict at the chosen epoch; `Rectifier.from_state` takes it.
        chosen: the epoch with the lowest held-out loss, the earliest of equals; 0 means that training did not help.
        history: one entry per epoch, epoch 0 included.
        batch: the B that was used.
    """

    state: dict[str, Tensor]
    chosen: int
    history: tuple[Epoch, ...]
    batch: int


def train(
    unlabelled: Unlabelled,
    rated: Rated,
    held_out_unlabelled: Unlabelled,
    held_out_rated: Rated,
    scores: NDArray[np.float64],
    options: Options | None = None,
    on_epoch: Callable[[int, int], None] | None = None,
) -> Training:
    """Train the rectifier; the same arguments give the same numbers on the same machine.

    Args:
        unlabelled: SR outputs for training, n images.
        rated: rated images for training.
        held_out_unlabelled: SR outputs of other content, to choose the epoch.
        held_out_rated: rated images of other content, to choose the epoch.
        scores: (methods,) mu, in the order of the outputs' methods.
        options: settings.
        on_epoch: called after each epoch with its number and the number of epochs.

    Raises:
        DiscernError: fewer than two methods, all scores equal or one not finite, another number of methods among the
            outputs, a method without any output, no pair of rated images of one content, or an unusable option.
    """
    options = options or Options()
    _check_options(options)
    _check_outputs("training", unlabelled, scores)
    _check_outputs("held-out", held_out_unlabelled, scores)
    same_content = options.rated_pairs == "same_content"
    generator = torch.Generator().manual_seed(options.seed)
    learning = _Terms(RankingLoss.of(unlabelled, scores), RatedLoss.of(rated, same_content=same_content))
    judging = _Terms(
        RankingLoss.of(held_out_unlabelled, scores), RatedLoss.of(held_out_rated, same_content=same_content)
    )
    rectifier = _new_rectifier(learning, options)
    return _fit(rectifier, learning, judging, options, generator, on_epoch)


@dataclass(frozen=True)
class _Terms:
    """Both terms of Eq. (6) on one part of the data."""

    ranking: RankingLoss
    rated: RatedLoss

    def losses(self, rectifier: Rectifier, batch: int, pairs: Tensor) -> Losses:
        with torch.inference_mode():
            rated = float(self.rated.of_pairs(rectifier, pairs))
        return Losses(self.ranking.mean(rectifier, batch), rated)


def _fit(
    rectifier: Rectifier,
    learning: _Terms,
    judging: _Terms,
    options: Options,
    generator: torch.Generator,
    on_epoch: Callable[[int, int], None] | None,
) -> Training:
    optimiser = torch.optim.AdamW(rectifier.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay)
    pairs = [terms.rated.draw(_HELD_OUT_PAIRS, generator) for terms in (learning, judging)]

    def measure() -> Epoch:
        return Epoch(
            learning.losses(rectifier, options.batch, pairs[0]), judging.losses(rectifier, options.batch, pairs[1])
        )

    history, best = [measure()], _snapshot(rectifier)
    for number in range(1, options.epochs + 1):
        _run_epoch(rectifier, learning, optimiser, options, generator)
        history.append(measure())
        if _chosen(history, options.rated_weight) == number:
            best = _snapshot(rectifier)
        if on_epoch is not None:
            on_epoch(number, options.epochs)
    batch = min(options.batch, len(learning.ranking))
    return Training(best, _chosen(history, options.rated_weight), tuple(history), batch)


def _run_epoch(
    rectifier: Rectifier,
    terms: _Terms,
    optimiser: torch.optim.Optimizer,
    options: Options,
    generator: torch.Generator,
) -> None:
    for rows in terms.ranking.batches(options.batch, generator):
        optimiser.zero_grad()
        ranking = terms.ranking.batch(rectifier, rows)
        rated = terms.rated.of_pairs(rectifier, terms.rated.draw(options.rated_batch, generator))
        torch.autograd.backward(ranking + options.rated_weight * rated)
        optimiser.step()


def _chosen(history: list[Epoch], rated_weight: float) -> int:
    """The epoch with the lowest held-out loss, the earliest of equals."""
    return int(np.argmin([epoch.held_out.total(rated_weight) for epoch in history]))


def _snapshot(rectifier: Rectifier) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in rectifier.state_dict().items()}


def _new_rectifier(terms: _Terms, options: Options) -> Rectifier:
    """Standardised by the features of all training images, with weights that depend on the seed alone."""
    outputs = terms.ranking.features[terms.ranking.present > 0]
    features = torch.cat([outputs, terms.rated.features]).double()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        return Rectifier(features.mean(0).float(), features.std(0, correction=0).float(), options.hidden)


def _check_options(options: Options) -> None:
    least = {"batch": 1, "epochs": 0, "hidden": 1, "rated_batch": 1, "weight_decay": 0, "rated_weight": 0}
    for name, smallest in least.items():
        if getattr(options, name) < smallest:
            raise DiscernError(f"{name} is {getattr(options, name)}: it must be at least {smallest}")
    if options.learning_rate <= 0:
        raise DiscernError(f"learning_rate is {options.learning_rate}: it must be positive")
    if options.rated_pairs not in ("random", "same_content"):
        raise DiscernError(f"rated_pairs is {options.rated_pairs!r}: choose random or same_content")


def _check_outputs(part: str, outputs: Unlabelled, scores: NDArray[np.float64]) -> None:
    methods = outputs.quality.shape[1]
    if len(scores) != methods:
        raise DiscernError(f"{len(scores)} scores for the {part} outputs of {methods} methods")
    if methods < 2:
        raise DiscernError(f"{methods} method: at least two are needed to make a pair")
    if not np.isfinite(scores).all():
        raise DiscernError(f"the score of method {int(np.argmin(np.isfinite(scores))) + 1} of {methods} is not finite")
    if np.ptp(scores) == 0:
        raise DiscernError(f"all {methods} methods have the same score: there is no ranking to learn from")
    empty = np.flatnonzero(~outputs.present.any(axis=0))
    if len(empty):
        raise DiscernError(
            f"method {empty[0] + 1} of {methods} has no {part} output: run it, or leave it out of the ranking"
        )
