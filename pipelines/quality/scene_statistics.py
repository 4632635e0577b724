"""A quality model on natural scene statistics: trains in seconds on the CPU, and downloads nothing.

It stands where the paper has CLIP: weaker, but a real blind model with features, quality and weights. Kernel ridge
regression maps an image's statistics to its rating; scikit-learn fits it, and only arrays are kept, so that a stored
model needs neither scikit-learn nor pickle.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from sklearn.kernel_ridge import KernelRidge
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from pipelines.errors import DiscernError
from pipelines.images import Pixels
from pipelines.quality import scene_features
from pipelines.quality.model import Encoded

NAME = "scene_statistics"

_FOLDS = 5
# RBF widths in units of 1 / d: standardised features are about 2 d apart in squared distance.
_WIDTHS = (0.03, 0.1, 0.3, 1.0)
_RIDGES = (0.01, 0.1, 1.0)


@dataclass(frozen=True)
class SceneStatistics:
    """The fitted model: quality(x) = offset + sum over n of dual_n exp(-gamma |z(x) - support_n|^2).

    z is the standardised vector of features. The scale is the ratings' own, 1 (bad) to 5 (perfect) by custom; values
    are not cut off there, since that would make ties, and far from every rated image they fall back to `offset`.

    Attributes:
        mean: (d,) float64, of the rated images' features.
        deviation: (d,) float64, positive.
        support: (n, d) float64, the rated images' standardised features.
        dual: (n,) float64.
        gamma: () float64, positive.
        offset: () float64, the mean rating.
    """

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]
    support: NDArray[np.float64]
    dual: NDArray[np.float64]
    gamma: NDArray[np.float64]
    offset: NDArray[np.float64]

    @property
    def name(self) -> str:
        """See `QualityModel.name`."""
        return NAME

    @property
    def fingerprint(self) -> str:
        """See `QualityModel.fingerprint`."""
        arrays, facts = self.state()
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
        for key in sorted(arrays):
            digest.update(f"{key} {arrays[key].shape} ".encode() + arrays[key].tobytes())
        return digest.hexdigest()

    def encode(self, images: Sequence[Pixels]) -> Encoded:
        """See `QualityModel.encode`; at least 16 pixels a side. The features are those of `scene_features`, raw."""
        features = np.empty((len(images), len(self.mean)), dtype=np.float32)
        for row, pixels in zip(features, images, strict=True):
            row[:] = scene_features.extract(pixels)
        return Encoded(features, self.predict(features))

    def predict(self, features: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Quality, (n,) float32, from features (n, d) as `encode` gives them."""
        # Row by row: the sums of a matrix product depend on how many rows it has, and a score must not.
        rows = (features - self.mean) / self.deviation
        values = [self.dual @ np.exp(-self.gamma * np.sum((self.support - row) ** 2, axis=1)) for row in rows]
        return (self.offset + np.array(values, dtype=np.float64)).astype(np.float32)

    def state(self) -> tuple[dict[str, NDArray[np.float64]], dict[str, Any]]:
        """Everything there is to store: arrays by name, and facts that JSON can hold."""
        arrays = {field.name: np.array(getattr(self, field.name), order="C") for field in fields(self)}
        return arrays, {"architecture": NAME, "feature_names": list(scene_features.FEATURE_NAMES)}

    @classmethod
    def from_state(cls, arrays: Mapping[str, NDArray[np.float64]], facts: Mapping[str, Any]) -> "SceneStatistics":
        """The model that `state` described.

        Raises:
            DiscernError: another architecture, other features than this version measures, or arrays that do not fit.
        """
        if facts.get("architecture") != NAME:
            raise DiscernError(f"architecture {facts.get('architecture')!r}, expected {NAME!r}")
        if facts.get("feature_names") != list(scene_features.FEATURE_NAMES):
            raise DiscernError("fitted on other features than this version measures: fit the model again")
        d = len(scene_features.FEATURE_NAMES)
        n = len(arrays["dual"]) if "dual" in arrays and arrays["dual"].ndim == 1 else 0
        shapes = {"mean": (d,), "deviation": (d,), "support": (n, d), "dual": (n,), "gamma": (), "offset": ()}
        actual = {name: array.shape for name, array in arrays.items()}
        if actual != shapes:
            raise DiscernError(f"arrays of shapes {actual}, expected {shapes}")
        return cls(**arrays)


@dataclass(frozen=True)
class Fit:
    """A fitted model and how well its kind predicts ratings of content that it has not seen.

    Attributes:
        model: fitted on every rated image.
        srcc: Spearman correlation of ratings with cross-validated predictions, folds split by source. The two
            hyper-parameters were chosen on the same folds, so that it flatters a little.
        gamma: the chosen width of the kernel.
        ridge: the chosen penalty.
    """

    model: SceneStatistics
    srcc: float
    gamma: float
    ridge: float


def fit(features: NDArray[np.floating[Any]], mos: NDArray[np.float64], sources: Sequence[str], *, seed: int) -> Fit:
    """Fit the model on rated images.

    Args:
        features: (n, d), as `scene_features.extract` gives them.
        mos: (n,), mean opinion scores, higher is better.
        sources: n names of source content; versions of one content stay on one side of every split.
        seed: of the assignment of sources to folds.

    Raises:
        DiscernError: lengths differ, values are not finite, all ratings are equal, or there is only one source.
    """
    _check(features, mos, sources)
    folds = GroupKFold(min(_FOLDS, len(set(sources))), shuffle=True, random_state=seed)
    splits = list(folds.split(features, groups=np.asarray(sources)))
    offset = float(np.mean(mos))
    grid = {
        "kernelridge__gamma": [width / features.shape[1] for width in _WIDTHS],
        "kernelridge__alpha": list(_RIDGES),
    }
    pipeline = make_pipeline(StandardScaler(), KernelRidge(kernel="rbf"))
    search = GridSearchCV(pipeline, grid, scoring="neg_mean_squared_error", cv=splits)
    search.fit(features.astype(np.float64), mos - offset)
    best: Pipeline = search.best_estimator_
    predicted = cross_val_predict(best, features.astype(np.float64), mos - offset, cv=splits)
    srcc = float(stats.spearmanr(mos, predicted).statistic)
    chosen = search.best_params_
    return Fit(_from_pipeline(best, offset), srcc, chosen["kernelridge__gamma"], chosen["kernelridge__alpha"])


def _check(features: NDArray[np.floating[Any]], mos: NDArray[np.float64], sources: Sequence[str]) -> None:
    if not len(features) == len(mos) == len(sources):
        raise DiscernError(f"{len(features)} feature vectors, {len(mos)} ratings and {len(sources)} sources")
    if not (np.isfinite(features).all() and np.isfinite(mos).all()):
        raise DiscernError("a feature or a rating is not finite: leave that image out")
    if len(set(sources)) < 2:
        raise DiscernError(f"{len(set(sources))} source among the rated images: at least two are needed to validate")
    if np.ptp(mos) == 0:
        raise DiscernError(f"every rating is {mos[0]}: nothing can be learned from equal ratings")


def _from_pipeline(pipeline: Pipeline, offset: float) -> SceneStatistics:
    scaler, ridge = pipeline.named_steps["standardscaler"], pipeline.named_steps["kernelridge"]
    return SceneStatistics(
        mean=np.asarray(scaler.mean_),
        deviation=np.asarray(scaler.scale_),
        support=np.asarray(ridge.X_fit_),
        dual=np.asarray(ridge.dual_coef_),
        gamma=np.asarray(ridge.gamma, dtype=np.float64),
        offset=np.asarray(offset, dtype=np.float64),
    )
