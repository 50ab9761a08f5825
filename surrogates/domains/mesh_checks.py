"""What a Mesh must be, said when it is made."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from surrogates.domains.mesh_edges import Periods

if TYPE_CHECKING:
    from surrogates.domains.mesh import Mesh


def check_nodes(mesh: Mesh) -> None:
    """Shapes, numbers and members."""
    x, n = mesh.points, len(mesh.points)
    _check_points(x)
    check_periods(mesh.periods, x.shape[1])
    for name in ("measure", "markers", "member"):
        if getattr(mesh, name).shape != (n,):
            raise ValueError(f"{name} has shape {tuple(getattr(mesh, name).shape)} but there are {n} nodes")
    if not bool((mesh.measure > 0).all() & mesh.measure.isfinite().all()):
        node = int((~(mesh.measure > 0) | ~mesh.measure.isfinite()).nonzero()[0])
        raise ValueError(f"node {node} has the measure {float(mesh.measure[node])}; every node needs a positive one (does a cell have it?)")
    if len(set(mesh.names)) < len(mesh.names):
        raise ValueError(f"boundaries need different names, got {mesh.names}")
    if int(mesh.markers.min()) < 0 or int(mesh.markers.max()) > len(mesh.names):
        raise ValueError(
            f"markers run from {int(mesh.markers.min())} to {int(mesh.markers.max())} but names {mesh.names} allow 0 to {len(mesh.names)}"
        )
    counts = torch.bincount(mesh.member.clamp(min=0), minlength=mesh.members)
    if bool((mesh.member.diff() < 0).any()) or int(mesh.member[0]) < 0 or len(counts) != mesh.members or int(counts.min()) == 0:
        raise ValueError(f"member must rise from 0 to {mesh.members - 1} and give each of {mesh.members} members a node")


def sorted_edges(mesh: Mesh) -> Tensor:
    """The edges by receiver, then sender. Raises ValueError for those that name no node, and for doubles."""
    edges, n = mesh.edges, len(mesh.points)
    if edges.ndim != 2 or len(edges) != 2 or edges.is_floating_point():
        raise ValueError(f"edges are integers of shape (2, edge), rows (sender, receiver), got {edges.dtype} of shape {tuple(edges.shape)}")
    if not edges.numel():
        return edges.long()
    edges = edges.long()
    if int(edges.min()) < 0 or int(edges.max()) >= n:
        raise ValueError(f"edges name nodes {int(edges.min())} to {int(edges.max())} but there are {n}, 0 to {n - 1}")
    key = edges[1] * n + edges[0]
    if bool((key.diff() < 0).any()):
        key, order = key.sort()
        edges = edges[:, order]
    double = (key.diff() == 0).nonzero()
    if len(double):
        sender, receiver = edges[:, int(double[0])].tolist()
        raise ValueError(
            f"the edge {sender} -> {receiver} is given twice, as are {len(double)} in all; torch.unique(edges, dim=1) drops them"
        )
    return edges


def check_edges(mesh: Mesh) -> None:
    """Both ways, no loops, within members, and between nodes that lie apart."""
    (sender, receiver), n = mesh.edges, len(mesh.points)
    if bool((sender == receiver).any()):
        raise ValueError(f"node {int(sender[sender == receiver][0])} has an edge to itself; leave such loops out")
    back = (sender * n + receiver).sort().values != receiver * n + sender
    if bool(back.any()):
        s, r = mesh.edges[:, _one_way(mesh.edges, n)].tolist()
        raise ValueError(f"the edge {s} -> {r} has no way back; edges go both ways: torch.cat([edges, edges.flip(0)], 1)")
    across = mesh.member[sender] != mesh.member[receiver]
    if bool(across.any()):
        raise ValueError(f"the edge {mesh.edges[:, across][:, 0].tolist()} joins two members; a batch is block diagonal")
    same = (mesh.relative == 0).all(1)
    if bool(same.any()):
        s, r = mesh.edges[:, same][:, 0].tolist()
        raise ValueError(f"nodes {s} and {r} are neighbours but lie in one place {mesh.points[s].tolist()}; merge them")
    if mesh.cells is not None:
        check_cells(mesh.points, mesh.cells)


def _one_way(edges: Tensor, n: int) -> int:
    there, back = edges[1] * n + edges[0], edges[0] * n + edges[1]
    return int((~torch.isin(back, there)).nonzero()[0])


def check_cells(points: Tensor, cells: Tensor) -> None:
    """Simplices of existing, different corners."""
    _check_points(points)
    dim = points.shape[1]
    if cells.ndim != 2 or not 2 <= cells.shape[1] <= dim + 1 or not len(cells):
        raise ValueError(
            f"cells are simplices (cell, corner) of 2 to {dim + 1} corners in {dim} dimensions, got shape {tuple(cells.shape)}; "
            "cut quadrilaterals into triangles and hexahedra into tetrahedra"
        )
    if int(cells.min()) < 0 or int(cells.max()) >= len(points):
        wrong = int(((cells < 0) | (cells >= len(points))).any(1).nonzero()[0])
        raise ValueError(f"cell {wrong} = {cells[wrong].tolist()} names points that do not exist; there are {len(points)}, counted from 0")
    ordered = cells.sort(1).values
    twice = (ordered.diff(dim=1) == 0).any(1)
    if bool(twice.any()):
        raise ValueError(f"cell {int(twice.nonzero()[0])} = {cells[twice][0].tolist()} names a corner twice")


def check_periods(periods: Periods, dim: int) -> None:
    if len(periods) != dim or any(p is not None and not (p > 0 and isfinite(p)) for p in periods):
        raise ValueError(f"periods are one positive length or None for each of {dim} axes, got {periods}")


def cloud(points: Any, periods: Periods | None) -> tuple[Tensor, Periods]:
    """Points as float64 and their periods, both checked."""
    x = torch.as_tensor(points, dtype=torch.float64)
    _check_points(x)
    period = tuple(periods or (None,) * x.shape[1])
    check_periods(period, x.shape[1])
    return x, period


def mark(boundary: Mapping[str, Any], nodes: int) -> Tensor:
    """Markers of named nodes, the last name winning. Raises ValueError for nodes that do not exist."""
    markers = torch.zeros(nodes, dtype=torch.long)
    for k, (name, given) in enumerate(boundary.items(), start=1):
        index = torch.as_tensor(given)
        index = index.nonzero()[:, 0] if index.dtype == torch.bool else index.long()
        if index.numel() and (int(index.min()) < 0 or int(index.max()) >= nodes):
            raise ValueError(
                f"boundary {name!r} names nodes {int(index.min())} to {int(index.max())} but there are {nodes}, 0 to {nodes - 1}"
            )
        markers[index] = k
    return markers


def _check_points(points: Tensor) -> None:
    if points.ndim != 2 or not 1 <= points.shape[1] <= 3 or not len(points):
        raise ValueError(f"points are (node, D) with at least one node and 1 to 3 dimensions, got shape {tuple(points.shape)}")
    if not bool(points.isfinite().all()):
        raise ValueError(f"point {int((~points.isfinite()).any(1).nonzero()[0])} is not finite")
