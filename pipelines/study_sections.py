"""The sections of a study file beside its methods; defaults are the paper's settings."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from pipelines.study_methods import MethodId, Section, Whole


class Images(Section):
    """Where the low-resolution (LR) images are.

    Images in one subfolder share their source content (crops of one photograph, say) and are kept on one side of every
    split; an image that lies in no subfolder is a source of its own.
    """

    folder: Path
    unlabelled: Path | None = None


Resize = Literal["native", "short_side_256"]


class Selection(Section):
    """Eq. (1): which image pairs people are asked about.

    Attributes:
        resize: what is done to outputs before D1 is measured.
        random_per_pair: images drawn at random for each pair of methods, as a control beside those of Eq. (1).
        anchors: methods that came later, when the pairs of the others were selected, and whom each is compared with.
    """

    distance: str = "dists"
    resize: Resize = "native"
    semantics: str = "vgg16"
    per_pair: Whole = Field(default=16, ge=1)
    random_per_pair: Whole = Field(default=0, ge=0)
    trade_off: float = Field(default=0.1, ge=0, strict=True)
    aggregate: Literal["mean", "min"] = "mean"
    reuse_limit: Whole | None = Field(default=None, ge=1)
    anchors: dict[MethodId, tuple[MethodId, ...]] = Field(default_factory=dict)


class Weights(Section):
    """Local files of pretrained weights; what is not named is looked for in the caches, then downloaded."""

    vgg16: Path | None = None
    vgg16_bn: Path | None = None
    alexnet: Path | None = None
    dists: Path | None = None
    clip: Path | None = None


class Calibration(Section):
    """Eqs. (3)-(6): how the ranking recalibrates the quality model."""

    rated: Path | None = None
    held_out: tuple[str, ...] = ()
    batch: Whole = Field(default=64, ge=1)
    epochs: Whole = Field(default=8, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0, strict=True)
    rated_weight: float = Field(default=1.0, ge=0, strict=True)
    rated_pairs: Literal["random", "same_content"] = "random"


Engine = Literal["local", "ray"]


class Execution(Section):
    """Where the work is done; another device changes a network's outputs by rounding, nothing else here does."""

    engine: Engine = "local"
    workers: Whole | None = Field(default=None, ge=1)
    device: str = "cpu"
