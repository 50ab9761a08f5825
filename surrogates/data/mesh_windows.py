"""Windows over trajectories on different meshes: a batch is one block-diagonal mesh of its members.

    past (1, H, C, node), future (1, T, C, node)        the nodes of all members, one after the other
    conditions: domain = Mesh.batch(members), time, dt (G,), parameters (G, P), static (1, Cs, node), forcing(t (G,)) -> (1, Cf, node)

so B = 1 and G = `domain.members`, as everything that works on meshes has it. Which windows exist, in which order they come, gaps, lengths
and the packed, memory-mapped cache are those of `windows`. Meshes are made and checked once, and joining those that are checked is a
matter of copying; the joined meshes last asked for are kept up to `KEPT` bytes, for batches that come again (validation, data of few
meshes). Memory goes with nodes rather than with members, so a batch can be limited in both.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from hashlib import sha256
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from jaxtyping import Float, Int64
from torch import Tensor

from surrogates.contracts import Conditions
from surrogates.data.mesh_order import NodeOrder
from surrogates.data.mesh_piece import key_of
from surrogates.data.order import Order
from surrogates.data.parts import Source, parts_of
from surrogates.data.series import Series
from surrogates.data.steady import not_steady
from surrogates.data.windows import Batch, Windows
from surrogates.domains import Mesh
from surrogates.interchange import FORCINGS, STATIC, declared, domain_of, static_of, trajectories_of

KEPT = 1 << 28
"""Bytes of joined meshes that are kept."""
_keeping = threading.Lock()
"""Batches are read ahead by several threads."""


class MeshWindows(Windows):
    """The windows of a split whose parts lie on meshes that differ; all else as `Windows`.

    `max_nodes`: a batch ends before its members have more nodes together. Raises ValueError, with the trajectory, for a mesh of more.
    """

    def __init__(self, source: Source, history: int = 1, bundle: int = 1, *, max_nodes: int | None = None, **settings: Any) -> None:
        if settings.get("subsample", 1) > 1 or settings.get("change") is not None:
            raise ValueError("subsample and coarsening need a grid, and these data lie on meshes; leave them out, or make coarser meshes")
        self.max_nodes = max_nodes
        super().__init__(source, history, bundle, **settings)

    def _describe(self, parts: Sequence[xr.Dataset], change: Any) -> None:
        plain = [p.drop_attrs(deep=False).assign_attrs({k: v for k, v in p.attrs.items() if k not in (STATIC, FORCINGS)}) for p in parts]
        super()._describe(plain, None)
        known: dict[str, Mesh] = {}
        self.meshes: list[Mesh] = []
        for p in parts:
            mesh = domain_of(p)
            assert isinstance(mesh, Mesh)
            self.meshes.append(known.setdefault(key_of(mesh), mesh))
        self.part_of = np.array([n for n, p in enumerate(parts) for _ in trajectories_of(p)], np.int64)
        nodes = np.array([m.shape[0] for m in self.meshes], np.int64)
        if self.max_nodes is not None and nodes.max() > self.max_nodes:
            worst = int(self._ids[self.part_of == nodes.argmax()][0])
            raise ValueError(
                f"trajectory {worst} has {nodes.max()} nodes but max_nodes is {self.max_nodes}; raise it, or leave that one out"
            )
        self.nodes = nodes[self.part_of]
        """Of the mesh of each trajectory."""
        self.static_fields, self.forcing_fields = declared(parts[0], STATIC), declared(parts[0], FORCINGS)
        rows = [s for s in map(static_of, parts) if s is not None]
        self._statics = [s for part in rows for s in part]
        names = [v for f in self.forcing_fields or () for v in f.variables]
        self._series = [Series(p, names, m.shape).of(trajectories_of(p)) for p, m in zip(parts, self.meshes, strict=True)] if names else []
        self._row_in_part = np.concatenate([np.arange(len(trajectories_of(p))) for p in parts])
        self._joined: OrderedDict[tuple[int, ...], Mesh] = OrderedDict()

    # -- reading -----------------------------------------------------------------------------------------------

    def batch(self, indices: Sequence[int] | Int64[Tensor, " G"], strides: Sequence[int] | None = None) -> Batch:
        """The windows `indices` as one row of members, in that order. Raises IndexError for one that does not exist."""
        wanted = np.asarray(indices, np.int64)
        if wanted.size and (wanted.min() < 0 or wanted.max() >= len(self)):
            raise IndexError(f"window {wanted.tolist()} asked for, but there are {len(self)}")
        rows, starts = self.runs.find(wanted)
        every = np.full(len(wanted), self.strides[0]) if strides is None else np.asarray(strides, np.int64)
        frames = self._frames_of(rows, starts, every)
        ids = torch.from_numpy(self._ids[rows] * self.per_trajectory + starts)
        return Batch(frames[:, : self.history], frames[:, self.history :], self._conditions(rows, starts, every), ids)

    def _frames_of(self, rows: npt.NDArray[np.int64], starts: npt.NDArray[np.int64], strides: npt.NDArray[np.int64]) -> Tensor:
        """(1, H + T, C, node): each member's frames copied to where its nodes are."""
        nodes = self.nodes[rows]
        out = np.empty((1, self.history + self.bundle, self.fields.count, int(nodes.sum())), np.float32)
        ends = np.cumsum(nodes)
        self.read_into(
            [out[0, ..., a:b] for a, b in zip(ends - nodes, ends, strict=True)], rows.tolist(), starts.tolist(), strides.tolist()
        )
        return torch.from_numpy(out)

    def _conditions(self, rows: npt.NDArray[np.int64], starts: npt.NDArray[np.int64], strides: npt.NDArray[np.int64]) -> Conditions:
        alone = super()._conditions(rows, starts, strides)
        static = torch.cat([self._statics[n] for n in rows], -1)[None] if self._statics else None
        return replace(alone, domain=self.joined(rows), static=static, forcing=self._forcing(rows))

    def joined(self, rows: npt.NDArray[np.int64]) -> Mesh:
        """The mesh of trajectories side by side; the same object where it was asked for not long ago."""
        key: tuple[int, ...] = tuple(self.part_of[rows].tolist())
        if len(key) == 1:
            return self.meshes[key[0]]
        with _keeping:
            known = self._joined.get(key)
        made = Mesh.batch([self.meshes[p] for p in key]) if known is None else known
        with _keeping:
            kept = self._joined.setdefault(key, made)
            self._joined.move_to_end(key)
            total = sum(map(_bytes, self._joined.values()))
            while total > KEPT:
                total -= _bytes(self._joined.popitem(last=False)[1])
        return kept

    def _forcing(self, rows: npt.NDArray[np.int64]) -> SideBySide | None:
        if not self._series:
            return None
        index = torch.from_numpy(self._row_in_part[rows])
        return SideBySide([self._series[self.part_of[n]].at_rows(index[g : g + 1]) for g, n in enumerate(rows)])

    # -- what training asks for ----------------------------------------------------------------------------------

    def order(self, chosen: Int64[Tensor, " N"], batch_size: int, seed: int) -> Order | NodeOrder:
        """Which of the `chosen` windows make the batch of a step."""
        if self.max_nodes is None:
            return super().order(chosen, batch_size, seed)
        rows, _ = self.runs.find(chosen.numpy())
        return NodeOrder(self.nodes[rows], batch_size, self.max_nodes, seed)

    def cut(self, chosen: Int64[Tensor, " N"], batch_size: int) -> list[Int64[Tensor, " B"]]:
        """The chosen windows in their order, in batches that keep to both limits."""
        if self.max_nodes is None:
            return super().cut(chosen, batch_size)
        rows, _ = self.runs.find(chosen.numpy())
        out, first, total = [], 0, 0
        for n, nodes in enumerate(self.nodes[rows].tolist()):
            if n - first == batch_size or total + nodes > self.max_nodes:
                out.append(chosen[first:n])
                first, total = n, 0
            total += nodes
        return [*out, chosen[first:]]

    @property
    def measure(self) -> None:
        """In statistics every node counts alike: a mesh is fine where a network has to be good."""
        return None

    def statics(self) -> Iterator[Float[Tensor, "1 Cs node"]]:
        """The static fields of each trajectory."""
        yield from (s[None] for s in self._statics)

    def forcings(self, most: int | None = None) -> Iterator[Float[Tensor, "R Cf node"]]:
        """Every frame of every part, or at most so many of each."""
        for series in self._series:
            yield from series.frames(most)

    @cached_property
    def checksum(self) -> str:
        """That of the files, or of the values, with that of the meshes and of what is static."""
        digest = sha256("".join(key_of(m) for m in self.meshes).encode())
        digest.update(super().checksum.encode())
        for static in self._statics:
            digest.update(static.contiguous().numpy().tobytes())
        return digest.hexdigest()


def _bytes(mesh: Mesh) -> int:
    held = (mesh.points, mesh.edges, mesh.measure, mesh.markers, mesh.member, mesh.cells)
    return sum(x.nbytes for x in held if x is not None)


class SideBySide:
    """One function of time of the members' own: t (G,) -> (1, C, node)."""

    def __init__(self, members: Sequence[Series]) -> None:
        self.members = tuple(members)

    def __call__(self, t: Float[Tensor, " G"]) -> Float[Tensor, "1 C node"]:
        return torch.cat([series(t[g : g + 1]) for g, series in enumerate(self.members)], -1)


def windows_of(source: Source, history: int = 1, bundle: int = 1, *, max_nodes: int | None = None, **settings: Any) -> Windows:
    """`MeshWindows` where the parts of a split lie on different meshes, else `Windows`, whose rows share one domain."""
    parts = parts_of(source, settings.get("split"), settings.get("size"))
    not_steady(parts)
    on_meshes = len(parts) > 1 and '"mesh"' in str(parts[0].attrs.get("domain", ""))
    if on_meshes and len({key_of(m) for m in map(domain_of, parts) if isinstance(m, Mesh)}) > 1:
        return MeshWindows(source, history, bundle, max_nodes=max_nodes, **settings)
    return Windows(source, history, bundle, **settings)
