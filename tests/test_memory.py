"""The peak of a process is its own, and stays where it was when memory is given back."""

import subprocess
import sys

import numpy as np

from pipelines import memory

MIB = 2**20
BATCH = 4 * MIB  # the kernel counts pages in batches
SMALL = "from pipelines import memory; print(memory.peak())"


def test_the_peak_grows_with_what_is_held_and_stays() -> None:
    before = memory.peak()
    held = np.ones(before + 64 * MIB, dtype=np.uint8)
    grown = memory.peak()
    assert grown >= before + 64 * MIB - BATCH
    del held
    assert memory.peak() >= grown - BATCH


def test_the_peak_of_a_child_is_not_its_parents() -> None:
    held = np.ones(300 * MIB, dtype=np.uint8)
    child = subprocess.run([sys.executable, "-c", SMALL], check=True, capture_output=True, text=True)
    assert held.size < memory.peak()
    assert MIB < int(child.stdout) < 200 * MIB
