"""Things that are expensive to make, such as networks: made at their first use, once in each process."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Made = TypeVar("Made")


class Lazy(Generic[Made]):
    """What a function makes, made when it is first asked for, by whatever thread.

    To another process travels the function alone, so it must be picklable where that happens (as on a Ray cluster).

    Args:
        make: called once; where it raises, it is called again the next time.
    """

    def __init__(self, make: Callable[[], Made]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._made: list[Made] = []

    def get(self) -> Made:
        """The thing."""
        with self._lock:
            if not self._made:
                self._made.append(self._make())
            return self._made[0]

    def __reduce__(self) -> tuple[type["Lazy[Made]"], tuple[Callable[[], Made]]]:
        return Lazy, (self._make,)
