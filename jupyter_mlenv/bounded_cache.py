"""A cache that forgets what was used longest ago, so that it does not grow with the number of environments."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class BoundedCache(Generic[K, V]):
    """Values by key, `limit` at most. Used from one thread."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._values: dict[K, V] = {}

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[K]:
        return iter(tuple(self._values))

    def get(self, key: K) -> V | None:
        """The value, which counts as used now; `None` if there is none."""
        if key not in self._values:
            return None
        value = self._values[key] = self._values.pop(key)
        return value

    def put(self, key: K, value: V) -> None:
        """Keep the value; the one that was used longest ago goes where there are too many."""
        self._values.pop(key, None)
        self._values[key] = value
        if len(self._values) > self._limit:
            del self._values[next(iter(self._values))]

    def drop(self, key: K) -> None:
        """Forget one; a key that is not there is no error."""
        self._values.pop(key, None)

    def drop_all(self, which: Callable[[K], bool] = lambda _: True) -> None:
        """Forget those whose key is meant."""
        for key in [key for key in self._values if which(key)]:
            del self._values[key]
