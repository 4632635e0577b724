"""Networks loaded in this process: any checkpoint that spandrel recognises.

spandrel finds the architecture from the keys of the state dict and unpickles tensors only; nothing in a checkpoint is
executed.
"""

import pickle
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import spandrel
import torch

from pipelines import weights
from pipelines.errors import DiscernError, WeightsError
from pipelines.images import Pixels


@dataclass(frozen=True)
class Checkpoint:
    """A network as the stage runs it; make one with `load`."""

    id: str
    network: spandrel.ImageModelDescriptor[Any]
    provenance: dict[str, Any]

    @property
    def by_stem(self) -> bool:
        """See `Method.by_stem`."""
        return False

    def upscale(self, stem: str, low_resolution: Pixels) -> Pixels:  # noqa: ARG002 - the protocol's
        """See `Method.upscale`; float32, the whole image at once."""
        values = torch.from_numpy(low_resolution.transpose(2, 0, 1).copy()).to(self.network.device)
        with torch.inference_mode():
            output = self.network(values.float().unsqueeze(0) / 255)
        if not torch.isfinite(output).all():
            raise DiscernError(f"{self.id}: the network gave values that are not finite")
        pixels = (output[0] * 255).round().clamp(0, 255).byte().permute(1, 2, 0).contiguous()
        return np.asarray(pixels.cpu().numpy(), dtype=np.uint8)


def load(method_id: str, file: Path, *, scale: int, device: torch.device, sha256: str | None = None) -> Checkpoint:
    """Load a network from a checkpoint.

    Raises:
        WeightsError: the file is not the expected one, not a checkpoint, of an unknown architecture, or a network that
            is not an RGB super-resolver by `scale`.
    """
    digest = weights.local_file(file, sha256)
    network = _recognise(file, device)
    if network.scale != scale or network.input_channels != 3 or network.output_channels != 3:
        raise WeightsError(
            f"{file}: {network.architecture.name} x{network.scale} with {network.input_channels} input and "
            f"{network.output_channels} output channels; the study needs an RGB network x{scale}: give another file"
        )
    network.eval()
    facts = {
        "kind": "checkpoint",
        "architecture": network.architecture.name,
        "weights_sha256": digest,
        "scale": scale,
        "device": device.type,
        "precision": "float32",
        "spandrel": spandrel.__version__,
        "torch": torch.__version__,
    }
    return Checkpoint(method_id, network, facts)


def _recognise(file: Path, device: torch.device) -> spandrel.ImageModelDescriptor[Any]:
    try:
        with warnings.catch_warnings():
            # Some architectures in spandrel call torch functions in a deprecated way; nothing a user can mend.
            warnings.filterwarnings("ignore", category=UserWarning)
            network = spandrel.ModelLoader(device).load_from_file(file)
    except spandrel.UnsupportedModelError as error:
        raise WeightsError(f"{file}: spandrel knows no architecture with these weights; give another file") from error
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError, KeyError) as error:
        raise WeightsError(f"{file}: not a checkpoint that can be read safely ({error}); give another file") from error
    if not isinstance(network, spandrel.ImageModelDescriptor):
        raise WeightsError(f"{file}: {network.architecture.name} takes more than an image; give another file")
    return network
