"""Devices, as torch names them: which can be used here, and how they round."""

import textwrap
import threading
from contextlib import AbstractContextManager, nullcontext

import torch

from pipelines.errors import DiscernError


def usable(name: str) -> torch.device:
    """The device; convolutions on it round as float32 does, not to the 10 bits that many GPUs take for it.

    Raises:
        DiscernError: there is no such device here.
    """
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = textwrap.shorten(next(iter(str(error).splitlines()), "unknown"), 80, placeholder=" ...")
        text = f"execution.device: {name!r} cannot be used ({reason}); use 'cpu' or 'cuda:0'"
        raise DiscernError(text) from error
    torch.backends.cudnn.allow_tf32 = False
    return device


def turn(device: torch.device) -> AbstractContextManager[object]:
    """What a thread takes while it computes: on a GPU one at a time, since its memory is for one; on a CPU nothing."""
    return threading.Lock() if device.type == "cuda" else nullcontext()
