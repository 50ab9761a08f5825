"""Nodes joined by edges, in 1-3 dimensions: unstructured meshes of simplices, point clouds, and batches of different ones.

A field is one value a node, (B, C, node). Each node carries the volume of its dual cell, with which all integrals and averages are taken,
in float64. Edges go both ways and are sorted by receiver, so that sums over neighbours are products with a sparse matrix.

Several meshes are one: block diagonal, `member` says which part a node belongs to, and B rows of it are G = B * members members,
(b, member) in row-major order. Periodic axes need no copies of nodes: positions relative to a neighbour take the nearest image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from math import prod
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import ArrayLike
from torch import Tensor

from surrogates.domains import mesh_checks, mesh_edges, mesh_storage
from surrogates.domains.kept import kept
from surrogates.domains.mesh_edges import Periods, nearest_image
from surrogates.domains.mesh_measure import dual_measure, gradient_weights, volumes


@dataclass(frozen=True, eq=False, repr=False)
class Mesh:
    """Geometry of fields (B, C, node). Lengths are in `units`, the measure in units^k for simplices of k + 1 corners.

    Edges are rows (sender, receiver) and are sorted here if they are not. markers: 0 inside, k >= 1 on the boundary names[k - 1].
    Raises ValueError for edges or cells that name no node, edges given twice, without a way back, to themselves, between members or
    between nodes in one place, for a measure that is not positive and for shapes that do not belong together.
    """

    points: Float[Tensor, "node D"]
    edges: Int[Tensor, "2 edge"]
    measure: Float[Tensor, " node"]
    cells: Int[Tensor, "cell corner"] | None = None
    markers: Int[Tensor, " node"] = None  # type: ignore[assignment]  # zeros, as is `member`
    names: tuple[str, ...] = ()
    member: Int[Tensor, " node"] = None  # type: ignore[assignment]
    members: int = 1
    periods: Periods = ()
    units: str = "1"

    def __post_init__(self) -> None:
        none = torch.zeros(len(self.points), dtype=torch.long, device=self.points.device)
        values = {
            "points": self.points.double(),
            "measure": self.measure.double(),
            "markers": none if self.markers is None else self.markers,
            "member": none if self.member is None else self.member,
            "periods": tuple(self.periods) or (None,) * self.points.shape[-1],
            "names": tuple(self.names),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)
        mesh_checks.check_nodes(self)
        object.__setattr__(self, "edges", mesh_checks.sorted_edges(self))
        mesh_checks.check_edges(self)

    def __repr__(self) -> str:
        cells = "" if self.cells is None else f", {len(self.cells)} cells"
        parts = "" if self.members == 1 else f", {self.members} members"
        return f"Mesh({len(self.points)} nodes in {self.dim}-D, {self.edges.shape[1]} edges{cells}{parts})"

    # -- how meshes are made -----------------------------------------------------------------------------------

    @classmethod
    def from_cells(
        cls,
        points: ArrayLike | Tensor,
        cells: ArrayLike | Tensor,
        boundary: Mapping[str, Sequence[int] | ArrayLike | Tensor] | None = None,
        *,
        periods: Periods | None = None,
        units: str = "1",
    ) -> Mesh:
        """Segments, triangles or tetrahedra; neighbours are corners of one cell, the measure is that of the dual cells.

        boundary: the nodes of each named boundary; a node in several keeps the last name. Raises ValueError for cells that name points
        that do not exist, flat cells, cells of half a period or more, and nodes in no cell.
        """
        x, corners = torch.as_tensor(points, dtype=torch.float64), torch.as_tensor(cells, dtype=torch.long)
        mesh_checks.check_cells(x, corners)
        period = tuple(periods or (None,) * x.shape[1])
        mesh_checks.check_periods(period, x.shape[1])
        measure = dual_measure(volumes(x, corners, period), corners, len(x))
        markers = mesh_checks.mark(boundary or {}, len(x))
        edges = mesh_edges.of_cells(corners, len(x))
        return cls(x, edges, measure, corners, markers, tuple(boundary or ()), periods=period, units=units)

    @classmethod
    def from_nearest(
        cls,
        points: ArrayLike | Tensor,
        k: int,
        measure: ArrayLike | Tensor | None = None,
        *,
        boundary: Mapping[str, Sequence[int] | ArrayLike | Tensor] | None = None,
        periods: Periods | None = None,
        units: str = "1",
    ) -> Mesh:
        """A cloud where each node and its k nearest others are neighbours (all others where there are fewer).

        measure: the volume of each node; by default equal shares of the periodic box, or of 1 where an axis does not repeat.
        """
        x, period = mesh_checks.cloud(points, periods)
        return cls._cloud(x, mesh_edges.of_nearest(x, k, period), measure, boundary, period, units)

    @classmethod
    def from_radius(
        cls,
        points: ArrayLike | Tensor,
        radius: float,
        measure: ArrayLike | Tensor | None = None,
        *,
        boundary: Mapping[str, Sequence[int] | ArrayLike | Tensor] | None = None,
        periods: Periods | None = None,
        units: str = "1",
    ) -> Mesh:
        """A cloud where nodes at most `radius` (in `units`) apart are neighbours; measure as in `from_nearest`."""
        x, period = mesh_checks.cloud(points, periods)
        return cls._cloud(x, mesh_edges.of_radius(x, radius, period), measure, boundary, period, units)

    @classmethod
    def _cloud(cls, x: Tensor, edges: Tensor, measure: Any, boundary: Mapping[str, Any] | None, periods: Periods, units: str) -> Mesh:
        lengths = [length for length in periods if length is not None]
        volume = prod(lengths) if len(lengths) == len(periods) else 1.0
        share = torch.full((len(x),), volume / len(x), dtype=torch.float64)
        given = share if measure is None else torch.as_tensor(measure, dtype=torch.float64)
        markers = mesh_checks.mark(boundary or {}, len(x))
        return cls(x, edges, given, None, markers, tuple(boundary or ()), periods=periods, units=units)

    @staticmethod
    def batch(meshes: Sequence[Mesh]) -> Mesh:
        """All of them as one block-diagonal mesh, members in this order; boundaries of one name are one.

        Raises ValueError for no mesh, and for meshes of different dimension, periods, units or kinds of cells.
        """
        joined = object.__new__(Mesh)  # whose parts were checked when they were made: side by side nothing new can be wrong
        for name, value in mesh_storage.batch(meshes).items():
            object.__setattr__(joined, name, value)
        return joined

    def separate(self) -> list[Mesh]:
        """The members, each a mesh by itself."""
        return [Mesh(**arguments) for arguments in mesh_storage.separate(self)]

    # -- what every Domain has ---------------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.points),)

    @property
    def mask(self) -> None:
        """A mesh has nodes only where it is valid."""
        return None

    def integral(self, u: Float[Tensor, "B C node"]) -> Float[Tensor, "G C"]:
        """The integral over each member, in float64."""
        self.check(u)
        weighted = u.double() * self.measure.to(u.device)
        sums = weighted.new_zeros(*u.shape[:2], self.members).index_add(2, self.member.to(u.device), weighted)
        return sums.permute(0, 2, 1).reshape(-1, u.shape[1])

    def average(self, u: Float[Tensor, "B C node"]) -> Float[Tensor, "G C"]:
        """The mean over each member, in float64."""
        return self.integral(u) / self.volumes.to(u.device).repeat(len(u))[:, None]

    def expand(self, values: Float[Tensor, "G P"]) -> Float[Tensor, "B P node"]:
        """A member's values, spread over its nodes (a view where there is one member)."""
        if len(values) % self.members:
            raise ValueError(f"this Mesh has {self.members} members a row, which {len(values)} rows of values do not fill")
        rows = values.reshape(-1, self.members, values.shape[1]).permute(0, 2, 1)
        return rows.expand(-1, -1, *self.shape) if self.members == 1 else rows.index_select(2, self.member.to(values.device))

    def check(self, u: Tensor) -> None:
        """Raise ValueError unless u is (B, C, node)."""
        if u.ndim != 3 or tuple(u.shape[2:]) != self.shape:
            raise ValueError(f"u has shape {tuple(u.shape)} but this Mesh takes (B, C, {self.shape[0]})")

    # -- geometry ----------------------------------------------------------------------------------------------

    @property
    def dim(self) -> int:
        return self.points.shape[1]

    @cached_property
    def volumes(self) -> Float[Tensor, " members"]:
        """The measure of each member, float64."""
        with kept():
            return self.measure.new_zeros(self.members).index_add_(0, self.member, self.measure)

    @cached_property
    def relative(self) -> Float[Tensor, "edge D"]:
        """points[receiver] - points[sender] to the nearest image, float64, in `units`."""
        with kept():
            sender, receiver = self.edges
            return nearest_image(self.points[receiver] - self.points[sender], self.periods)

    @cached_property
    def components(self) -> int:
        """How many parts there are that no edge joins; at least `members`."""
        from scipy.sparse import coo_matrix
        from scipy.sparse.csgraph import connected_components

        sender, receiver = self.edges.cpu().numpy()
        joined = coo_matrix((sender >= 0, (sender, receiver)), shape=(len(self.points),) * 2)
        return int(connected_components(joined, directed=False, return_labels=False))

    @cached_property
    def _gradient(self) -> Float[Tensor, "edge D"]:
        with kept():
            return gradient_weights(self.relative, self.edges[1], len(self.points))

    def gradient(self, u: Float[Tensor, "B C node"]) -> Float[Tensor, "B C D node"]:
        """By least squares over the neighbours: exact for linear fields, zero at a node without neighbours."""
        self.check(u)
        sender, receiver = self.edges.to(u.device)
        jump = u.index_select(2, receiver) - u.index_select(2, sender)
        parts = jump[:, :, None] * self._gradient.T.to(u.device, u.dtype)
        return parts.new_zeros(*u.shape[:2], self.dim, u.shape[2]).index_add(3, receiver, parts)

    def boundary(self, name: str) -> Bool[Tensor, " node"]:
        """Where the boundary `name` lies. Raises ValueError with the names that exist."""
        if name not in self.names:
            raise ValueError(f"boundary {name!r} is not among those of this Mesh: {', '.join(self.names) or 'it names none'}")
        return self.markers == self.names.index(name) + 1

    def to(self, device: torch.device | str) -> Mesh:
        """The same on `device`; itself, with all that networks keep of it, where it is there already."""
        here, there = self.points.device, torch.device(device)
        if here.type == there.type and there.index in (None, here.index):
            return self
        names = [field.name for field in fields(self)]
        moved: dict[str, Any] = {name: getattr(self, name).to(device) for name in names if isinstance(getattr(self, name), Tensor)}
        return replace(self, **moved)

    # -- storage -----------------------------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """Everything, in numbers that round-trip exactly."""
        return mesh_storage.to_json(self)

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Mesh:
        return cls(**mesh_storage.from_json(entry))

    def to_data(self) -> Any:
        """A torch_geometric `Data` with pos, edge_index, batch and the rest under our names. Raises ImportError without it."""
        return mesh_storage.to_data(self)

    @classmethod
    def from_data(cls, data: Any) -> Mesh:
        """From a torch_geometric `Data`: `pos`, and `edge_index`, or `face` or our `cells`; all else that `to_data` writes is optional."""
        return cls(**mesh_storage.from_data(data))
