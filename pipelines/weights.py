"""Where pretrained weights come from: a local file, checked by its sha256. Never a silent substitute.

Checkpoints are untrusted: tensors are read from them, and nothing in them is executed.
"""

import hashlib
import pickle
import re
import warnings
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.errors import WeightsError

if TYPE_CHECKING:
    import torch

_FOREIGN = re.compile(r"unsupported (?:global: )?GLOBAL ([\w.]*\w)", re.IGNORECASE)
_REMEDY = "ask its authors for a safetensors file, or, if you trust them, save its state dict anew"


def sha256_of(path: Path) -> str:
    """The sha256 of a file, in hexadecimal; read once in a process, as long as the file stays what it is.

    Raises:
        WeightsError: the file cannot be read.
    """
    try:
        facts = path.stat()
        return _digest(path, facts.st_ino, facts.st_size, facts.st_mtime_ns)
    except OSError as error:
        raise WeightsError(f"{path}: weights cannot be read ({error.strerror})") from error


@cache
def _digest(path: Path, *_identity: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def local_file(path: Path, expected_sha256: str | None = None) -> str:
    """Check a local weights file and return its sha256.

    Raises:
        WeightsError: the file cannot be read, or its sha256 is not the expected one.
    """
    actual = sha256_of(path)
    if expected_sha256 is not None and actual != expected_sha256:
        raise WeightsError(f"{path}: sha256 is {actual}, expected {expected_sha256}: fetch the file again")
    return actual


def load_state(path: Path, expected_sha256: str | None = None) -> "dict[str, torch.Tensor]":
    """The state dict in a checkpoint: a safetensors file, or what `torch.save` wrote, read with `weights_only=True`.

    Returns:
        Tensors on the CPU by their names, without the wrapping and the prefixes that training puts around them.

    Raises:
        WeightsError: the file cannot be read, is not the expected one, holds more than tensors and plain values, or
            holds no tensors.
    """
    import torch

    if expected_sha256 is not None:
        local_file(path, expected_sha256)
    values = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    state = _unwrapped(values) if isinstance(values, dict) else {}
    tensors = {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}
    if not tensors:
        raise WeightsError(f"{path}: holds no weights by name; give a file with a network's state dict")
    return tensors


def _unwrapped(values: dict[Any, Any]) -> dict[str, Any]:
    import spandrel

    try:
        state = spandrel.canonicalize_state_dict(values)
    except AttributeError:  # keys that are numbers, as in the state of an optimiser
        return {}
    return {name: value for name, value in state.items() if isinstance(name, str)}


def _read_safetensors(path: Path) -> dict[str, Any]:
    import safetensors
    import safetensors.torch

    try:
        return safetensors.torch.load_file(path)
    except OSError as error:
        raise WeightsError(f"{path}: weights cannot be read ({error.strerror or error})") from error
    except safetensors.SafetensorError as error:
        raise WeightsError(f"{path}: not a safetensors file ({error}); fetch it again") from error


def _read_pickle(path: Path) -> Any:
    import torch

    try:
        with warnings.catch_warnings():
            # Of what is an error below, or of what the user cannot mend.
            warnings.simplefilter("ignore", UserWarning)
            return torch.load(path, map_location="cpu", weights_only=True)
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise WeightsError(f"{path}: weights cannot be read ({error.strerror})") from error
    except pickle.UnpicklingError as error:
        raise WeightsError(f"{path}: {_reason(error)}") from error
    except Exception as error:  # damaged bytes make torch's reader fail in every way
        if "weights_only" in str(error):
            what = "it is a TorchScript program or a very old archive, not weights alone"
            raise WeightsError(f"{path}: cannot be read safely ({what}; fetch it again, or {_REMEDY})") from error
        reason = next(iter(str(error).splitlines()), "it is empty or cut short")
        raise WeightsError(f"{path}: not a checkpoint, or damaged ({reason}); fetch it again") from error


def _reason(error: pickle.UnpicklingError) -> str:
    """Torch's own message advises to switch safety off."""
    foreign = _FOREIGN.search(str(error))
    if foreign is None:
        return f"not a checkpoint, damaged, or saved in an unusual way; fetch it again, or {_REMEDY}"
    return f"cannot be read safely (it holds {foreign.group(1)} beside tensors, which could run code; {_REMEDY})"
