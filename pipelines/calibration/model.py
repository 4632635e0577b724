"""A calibrated model, and the one folder in which it or a bare quality model is kept.

MODEL/
    model.json          format, architecture, provenance, sha256 of the other file
    model.safetensors   all arrays; of the quality model, and of the rectifier under `rectifier.`
"""

import hashlib
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays
from torch import Tensor

from pipelines import images
from pipelines.calibration.rectifier import Rectifier
from pipelines.errors import DiscernError, WeightsError
from pipelines.images import Pixels
from pipelines.quality.model import Encoded, QualityModel
from pipelines.quality.scene_statistics import SceneStatistics
from pipelines.workspace import write_atomically

FORMAT = 1
FACTS, ARRAYS = "model.json", "model.safetensors"
_RECTIFIER = "rectifier."


@dataclass(frozen=True)
class CalibratedModel:
    """A quality model with its rectifier: Q = alpha q_w + beta. It is a `QualityModel` itself.

    Attributes:
        base: q_w, unchanged.
        rectifier: h_theta.
    """

    base: SceneStatistics
    rectifier: Rectifier

    @property
    def name(self) -> str:
        """See `QualityModel.name`."""
        return f"{self.base.name}+rectifier"

    @property
    def fingerprint(self) -> str:
        """See `QualityModel.fingerprint`."""
        digest = hashlib.sha256(self.base.fingerprint.encode())
        for name, array in sorted(_arrays_of(self.rectifier).items()):
            digest.update(f"{name} {array.shape} ".encode() + array.tobytes())
        return digest.hexdigest()

    def encode(self, images: Sequence[Pixels]) -> Encoded:
        """See `QualityModel.encode`: the features of q_w, and its quality rectified."""
        encoded = self.base.encode(images)
        return Encoded(encoded.features, self.rectify(encoded))

    def rectify(self, encoded: Encoded) -> NDArray[np.float32]:
        """The rectified quality, (n,) float32, of images that q_w has encoded."""
        with torch.inference_mode():
            # Copies: encodings that come from the cache are read-only, which PyTorch warns of.
            features, quality = torch.tensor(encoded.features), torch.tensor(encoded.quality)
            return np.asarray(self.rectifier(features, quality).numpy(), dtype=np.float32)


def save(folder: Path, model: SceneStatistics | CalibratedModel, provenance: dict[str, Any]) -> None:
    """Write a model's folder; an older model there is replaced as a whole.

    Args:
        folder: where to.
        model: what to keep.
        provenance: JSON values: what it was made from, and with what.

    Raises:
        DiscernError: the folder holds something else than a model, or cannot be written.
    """
    if folder.exists() and not (folder / FACTS).is_file():
        raise DiscernError(f"{folder}: exists and is not a model's folder; choose another name")
    base = model.base if isinstance(model, CalibratedModel) else model
    own, facts = base.state()
    arrays: dict[str, NDArray[Any]] = dict(own)
    if isinstance(model, CalibratedModel):
        arrays |= {_RECTIFIER + name: array for name, array in _arrays_of(model.rectifier).items()}
    content = save_arrays(arrays)
    facts = {
        "format": FORMAT,
        **facts,
        "calibrated": isinstance(model, CalibratedModel),
        "sha256": hashlib.sha256(content).hexdigest(),
        "provenance": {"discern": metadata.version("discern"), **provenance},
    }
    _replace_folder(folder, {ARRAYS: content, FACTS: (json.dumps(facts, indent=2) + "\n").encode()})


def load(folder: Path | str) -> SceneStatistics | CalibratedModel:
    """Read a model's folder.

    Raises:
        WeightsError: it is not one, was written by a newer version, or was damaged.
    """
    folder = Path(folder)
    facts = _read_facts(folder)
    arrays = _read_arrays(folder / ARRAYS, facts)
    own = {name: array for name, array in arrays.items() if not name.startswith(_RECTIFIER)}
    rest = {name.removeprefix(_RECTIFIER): torch.from_numpy(arrays[name]) for name in arrays.keys() - own.keys()}
    try:
        base = SceneStatistics.from_state(own, facts)
        return CalibratedModel(base, Rectifier.from_state(rest)) if facts.get("calibrated") else base
    except (DiscernError, RuntimeError, KeyError) as error:
        raise WeightsError(f"{folder}: not a model that this version can use: {error}") from error


def score_files(model: QualityModel, paths: Sequence[Path | str]) -> NDArray[np.float32]:
    """The predicted quality of image files, (n,) float32, higher is better.

    Raises:
        DiscernError: a file cannot be read, or its image is too small for the model; the message names it.
    """
    return np.array([_score_file(model, Path(path)) for path in paths], dtype=np.float32)


def _score_file(model: QualityModel, path: Path) -> float:
    pixels = images.decode(path).pixels
    try:
        return float(model.encode([pixels]).quality[0])
    except DiscernError as error:
        raise DiscernError(f"{path}: {error}") from error


def _arrays_of(rectifier: Rectifier) -> dict[str, NDArray[np.float32]]:
    state: dict[str, Tensor] = rectifier.state_dict()
    return {name: np.ascontiguousarray(tensor.detach().cpu().numpy()) for name, tensor in state.items()}


def _replace_folder(folder: Path, files: dict[str, bytes]) -> None:
    """Write a folder beside the old one, then exchange them, so that a folder is never half of one model."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as beside:
            fresh, old = Path(beside) / "fresh", Path(beside) / "old"
            for name, content in files.items():
                write_atomically(fresh / name, content)
            if folder.exists():
                folder.rename(old)
            fresh.rename(folder)
    except OSError as error:
        raise DiscernError(f"{folder}: cannot be written ({error.strerror}); choose another folder") from error


def _read_facts(folder: Path) -> dict[str, Any]:
    try:
        facts: dict[str, Any] = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        written_as = int(facts["format"])
    except OSError as error:
        raise WeightsError(f"{folder}: not a model's folder ({FACTS}: {error.strerror}); give the folder") from error
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{folder / FACTS}: damaged ({error}); make or fetch the model again") from error
    if written_as > FORMAT:
        raise WeightsError(f"{folder}: format {written_as}, this version reads up to {FORMAT}: update Discern")
    return facts


def _read_arrays(path: Path, facts: dict[str, Any]) -> dict[str, NDArray[Any]]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror}); make or fetch the model again") from error
    if hashlib.sha256(content).hexdigest() != facts.get("sha256"):
        raise WeightsError(f"{path}: was cut short or changed (its sha256 is not the recorded one); fetch it again")
    try:
        return load_arrays(content)
    except SafetensorError as error:
        raise WeightsError(f"{path}: not a safetensors file ({error}); make or fetch the model again") from error
