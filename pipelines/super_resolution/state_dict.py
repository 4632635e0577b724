"""State dicts of the networks that are our own: sizes read from their shapes, entries copied strictly."""

import re
from collections.abc import Mapping
from typing import TypeVar

from torch import Tensor, nn

from pipelines.errors import WeightsError

SHOWN = 3

Network = TypeVar("Network", bound=nn.Module)


def load_strictly(network: Network, state: Mapping[str, Tensor], layout: str) -> Network:
    """Copy a state dict into a network, which must have exactly its entries; returns the network, for evaluation.

    Raises:
        WeightsError: entries are missing, too many, or of another shape than `layout`, a name for messages, has them.
    """
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    came = {name: tuple(tensor.shape) for name, tensor in state.items()}
    shared = sorted(expected.keys() & came.keys())
    complaints = {
        "missing": sorted(expected.keys() - came.keys()),
        "not known": sorted(came.keys() - expected.keys()),
        "of another shape": [f"{key} {came[key]} for {expected[key]}" for key in shared if came[key] != expected[key]],
    }
    problems = [_listed(what, entries) for what, entries in complaints.items() if entries]
    if problems:
        raise WeightsError(f"these are not weights of {layout}: {'; '.join(problems)}. Give another file")
    network.load_state_dict(state, strict=True)
    return network.eval()


def _listed(what: str, entries: list[str]) -> str:
    rest = f" and {len(entries) - SHOWN} more" if len(entries) > SHOWN else ""
    return f"{len(entries)} {what} ({', '.join(entries[:SHOWN])}{rest})"


def size_of(state: Mapping[str, Tensor], key: str, axis: int, layout: str) -> int:
    """One axis of one entry of a state dict.

    Raises:
        WeightsError: there is no such entry, or it has not so many axes.
    """
    if key not in state or state[key].ndim <= axis:
        problem = f"{key} has only {state[key].ndim} axes" if key in state else f"{key} is missing"
        raise WeightsError(f"these are not weights of {layout}: {problem}. Give another file")
    return state[key].shape[axis]


def length_of(state: Mapping[str, Tensor], sequence: str) -> int:
    """How many modules a state dict has in a sequence: one more than the largest N of its `sequence.N.` entries."""
    numbers = (re.match(rf"{re.escape(sequence)}\.(\d+)\.", key) for key in state)
    return max((int(number[1]) + 1 for number in numbers if number), default=0)
