"""How long work tells whoever waits for it how far it is."""

from typing import Protocol


class Progress(Protocol):
    """Called with the name of the task, the number of items done, and the number of all items."""

    def __call__(self, task: str, done: int, total: int) -> None:
        """Report; must return at once."""


def silent(task: str, done: int, total: int) -> None:
    """Report to nobody."""
