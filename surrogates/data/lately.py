"""What was read last, kept up to a number of bytes for whoever asks for it again; threads that want the same wait for one reading of it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

V = TypeVar("V")
K = TypeVar("K", bound=Hashable)
MOST = 1 << 27  # bytes


class _Slot:
    def __init__(self) -> None:
        self.lock, self.bytes = threading.Lock(), 0
        self.value: tuple[Any, ...] = ()


class Lately(Generic[K, V]):
    """`read` of a key, the newest values kept while they have at most `most` bytes (`MOST` unless given) by `size`, the last one always."""

    def __init__(self, read: Callable[[K], V], size: Callable[[V], int], most: int | None = None) -> None:
        self.read, self.size, self.most = read, size, MOST if most is None else most
        self._lock = threading.Lock()
        self._slots: OrderedDict[K, _Slot] = OrderedDict()

    def __call__(self, key: K) -> V:
        with self._lock:
            slot = self._slots.setdefault(key, _Slot())
            self._slots.move_to_end(key)
        with slot.lock:
            if not slot.value:
                value = self.read(key)
                slot.value, slot.bytes = (value,), self.size(value)
            found: V = slot.value[0]
        with self._lock:
            while sum(s.bytes for s in self._slots.values()) > self.most and next(iter(self._slots)) != key:
                self._slots.popitem(last=False)
        return found

    @property
    def held(self) -> int:
        """Bytes that are kept now."""
        with self._lock:
            return sum(s.bytes for s in self._slots.values())
