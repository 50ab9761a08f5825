"""The frames of one field of a case as a lazy array (1, time, *axes, k): a time folder is read when one of its values is asked for.

The components of a vector lie in one file, and are asked for one after another: the frames read last are kept, `KEPT` bytes of them in
all, so that each file is parsed once. Of the mesh only what says where values go is held.
"""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from surrogates.data.foam.case import Case
from surrogates.data.foam.field import About
from surrogates.data.foam.places import Placed

KEPT = 128 << 20
_recent: OrderedDict[tuple[int, str, float], tuple[Any, NDArray[np.float32]]] = OrderedDict()
_lock = Lock()


class Frames:
    """Indexed as dask does it, by slices."""

    def __init__(self, case: Case, about: About, times: tuple[float, ...], placed: Placed) -> None:
        self.case, self.about, self.times, self.placed = case, about, times, placed
        width = max(1, len(about.components))
        self.shape, self.dtype, self.ndim = (1, len(times), *placed.shape, width), np.dtype(np.float32), 3 + len(placed.shape)

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        """Dask would pickle the case, mesh and all, to give it a name."""
        return (str(self.case.path), self.case.region, self.about, self.times, type(self.placed).__name__, self.shape)

    def lazy(self) -> Any:
        """The dask array, a frame a chunk."""
        import dask.array as da

        return da.from_array(self, chunks=(1, 1, *self.shape[2:]), asarray=False, name=False)  # type: ignore[no-untyped-call]

    def __getitem__(self, index: Any) -> NDArray[np.float32]:
        rows = range(len(self.times))[index[1]]
        frames = np.stack([self._frame(n) for n in rows]) if len(rows) else np.zeros((0, *self.shape[2:]), np.float32)
        return frames[None][(index[0], slice(None), *index[2:])]

    def _frame(self, n: int) -> NDArray[np.float32]:
        key = (id(self.case), self.about.name, self.times[n])
        with _lock:
            held = _recent.get(key)
        if held is not None and held[0] is self.case:
            return held[1]
        frame = self.placed.take(self.case, self.about, self.times[n])
        with _lock:
            _recent[key] = (self.case, frame)
            while len(_recent) > 1 and sum(f.nbytes for _, f in _recent.values()) > KEPT:
                _recent.popitem(last=False)
        return frame
