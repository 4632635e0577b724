"""The peak of a process is its own, and stays where it was when memory is given back."""

import subprocess
import sys

import numpy as np

from pipelines import memory

MIB = 2**20
BATCH = 4 * MIB  # the kernel counts pages in batches
SMALL = "from pipelines import memory; print(memory.peak())"
GROWING = f"""
from pipelines import memory
before = memory.peak()
held = b"x" * (before + {64 * MIB})
grown = memory.peak()
del held
print(before, grown, memory.peak())
"""


def printed(script: str) -> list[int]:
    """The numbers that a process of its own prints."""
    child = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    return [int(number) for number in child.stdout.split()]


def test_the_peak_grows_with_what_is_held_and_stays() -> None:
    before, grown, after = printed(GROWING)
    assert grown >= before + 64 * MIB - BATCH
    assert after >= grown - BATCH


def test_the_peak_of_a_child_is_not_its_parents() -> None:
    held = np.ones(300 * MIB, dtype=np.uint8)
    (peak,) = printed(SMALL)
    assert held.size < memory.peak()
    assert MIB < peak < 200 * MIB
