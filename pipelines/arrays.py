"""Arrays of a study by the content that they were computed from: one `.npy` file each, written atomically.

A row of a manifest is a line of text until its run ends; long vectors are kept here, beside the manifest that lists
them.
"""

import io
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.workspace import WorkspaceError, write_atomically

Floats = NDArray[np.float32]


class Arrays:
    """A folder of float32 vectors of one length.

    Args:
        folder: made when the first vector is stored.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str) -> Path:
        """Where the vector of this name lies, whether or not it is there yet."""
        return self.folder / name[:2] / f"{name}.npy"

    def names(self) -> set[str]:
        """The names of all vectors that are there."""
        if not self.folder.is_dir():
            return set()
        folders = [entry.path for entry in os.scandir(self.folder) if entry.is_dir()]
        files = (entry.name for folder in folders for entry in os.scandir(folder))
        return {name.removesuffix(".npy") for name in files if name.endswith(".npy")}

    def put(self, name: str, vector: Floats) -> None:
        """Store a vector, (d,) float32.

        Raises:
            StorageError: it cannot be written.
        """
        content = io.BytesIO()
        np.save(content, vector.astype(np.float32), allow_pickle=False)
        write_atomically(self.path(name), content.getvalue())

    def rows(self, names: list[str]) -> Floats:
        """The vectors of these names, as rows: (names, d) float32; (0, 0) where none is named.

        Raises:
            WorkspaceError: one is missing, damaged, or of another length than the first.
        """
        first = self._get(names[0]) if names else np.empty(0, dtype=np.float32)
        table = np.empty((len(names), len(first)), dtype=np.float32)
        for row, name in enumerate(names):
            vector = self._get(name)
            if vector.shape != first.shape:
                raise WorkspaceError(
                    f"{self.path(name)}: {vector.shape} values for {first.shape}; delete it, run again"
                )
            table[row] = vector
        return table

    def _get(self, name: str) -> Floats:
        path = self.path(name)
        try:
            vector: Floats = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise WorkspaceError(f"{path}: damaged ({error}); delete it and run the study again") from error
        return vector
