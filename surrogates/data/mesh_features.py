"""What a network should know of a mesh beside its edges: which boundary a node is on, and how far the walls are.

    boundary_<name>     1 on the boundary, 0 elsewhere
    wall_distance       to the nearest point of the boundaries that are walls, in the mesh's units

They are static fields, so that any network gets them as channels (`known`), not only those that read markers. Which there are depends
on what is opened together; `as_trained` makes of any Dataset those that a surrogate was trained with, in their order.

The distance is that to the facets of the boundary: the smallest over the facets around the nearest boundary nodes, which is exact where
no facet is longer than the way to its ends' neighbours, as in meshes made for flows. A mesh without cells, or a curved one, has the
distance to the nearest boundary node.
A node that two boundaries share belongs to one of them: a wall ends at its own last node. On a mesh without walls among others that have
some, every node is as far as the diagonal of the mesh's bounding box is long.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.linalg import vector_norm

from surrogates.domains import Mesh
from surrogates.domains.layout import NODE
from surrogates.domains.mesh_later import LATER
from surrogates.errors import nearest
from surrogates.fields import Field, Fields
from surrogates.interchange import STATIC, declare, declared, domain_of

NEAREST = 8
"""Boundary nodes whose facets are looked at."""
WALLS = re.compile(r"wall|cylinder|obstacle|airfoil|aerofoil|body|no_?slip", re.IGNORECASE)
"""Names that mean a wall where nobody says which boundaries are."""
BOUNDARY, DISTANCE = "boundary_", "wall_distance"


def with_features(
    dataset: xr.Dataset, names: Sequence[str] | None = None, walls: Sequence[str] | None = None, *, mesh: Mesh | None = None
) -> xr.Dataset:
    """The Dataset on a Mesh with these static fields declared beside those that it has. They are computed when they are read.

    `names`: the boundaries of all meshes that a network is to see, in this order, those that this mesh lacks being nowhere; its own unless
    given. `walls`: those that the distance is to; the ones that are called so unless given, and no distance where there are none. `mesh`:
    that of the Dataset, where it is at hand. Raises ValueError for a domain that is no Mesh.
    """
    read = _reading(dataset, mesh)
    shown = tuple(names_of(dataset)) if names is None else tuple(names)
    solid = tuple(n for n in shown if WALLS.search(n)) if walls is None else tuple(walls)
    columns = {_boundary(n): _later(partial(_on, read, n), dataset) for n in shown}
    if solid:
        about = Field(DISTANCE, _entry(dataset)["units"], long_name="distance to the nearest wall")
        columns[about] = _later(lambda: wall_distance_or_extent(read(), solid), dataset)
    return _with(dataset, columns, (*(declared(dataset, STATIC) or ()), *columns))


def with_shared_features(splits: Mapping[str, Sequence[xr.Dataset]], walls: Sequence[str] | None = None) -> dict[str, list[xr.Dataset]]:
    """The parts of all splits with the same static fields: of every boundary that any of their meshes names."""
    names = tuple(dict.fromkeys(n for parts in splits.values() for p in parts for n in names_of(p)))
    return {s: [with_features(p, names, walls) for p in parts] for s, parts in splits.items()}


def as_trained(dataset: xr.Dataset, static: Fields | None, place: str = "") -> xr.Dataset:
    """The Dataset with the static fields that a surrogate takes, in its order, whatever else was opened beside it.

    A boundary that this mesh lacks is nowhere, and one without walls is far from them. What is no Mesh, and a surrogate that knows no
    boundaries, are left as they are. Raises ValueError, with `place` (the data set's name unless given), for a boundary of the mesh
    that the surrogate does not know, and for another static field that the Dataset lacks.
    """
    known = {f.name: f for f in static or () if f.name == DISTANCE or f.name.startswith(BOUNDARY)}
    if static is None or not known or NODE not in dataset.dims:
        return dataset
    where = place or str(dataset.attrs.get("dataset", "the Dataset"))
    marked = tuple(f.name.removeprefix(BOUNDARY) for f in known.values() if f.name != DISTANCE)
    for name in names_of(dataset):
        if marked and _identifier(name) not in marked:
            raise ValueError(
                f"{where}: its mesh has a boundary {name!r}, which this surrogate was not trained with; it knows {', '.join(marked)}"
                f"{nearest(name, marked)}. Rename or merge it, or train on data that have it"
            )
    missing = [f.name for f in static if f.name not in known and any(v not in dataset for v in f.variables)]
    if missing:
        raise ValueError(
            f"{where} lacks the static fields {missing} that this surrogate takes; it has {sorted(map(str, dataset.data_vars))}"
        )
    read, columns = _reading(dataset, None), {}
    for f in known.values():
        if f.name not in dataset:
            columns[f] = _later(partial(_column, read, f.name), dataset)
    return _with(dataset, columns, tuple(static))


def names_of(dataset: xr.Dataset) -> list[str]:
    """Of the boundaries of the Mesh, of which nothing is read. Raises ValueError for a domain that is no Mesh."""
    return [str(n) for n in _entry(dataset)["names"]]


def _on(read: Callable[[], Mesh], name: str) -> Float[Tensor, " node"]:
    return on_boundary(read(), name)


def _column(read: Callable[[], Mesh], name: str) -> Float[Tensor, " node"]:
    """A feature by its name."""
    mesh = read()
    if name == DISTANCE:
        return wall_distance_or_extent(mesh, [n for n in mesh.names if WALLS.search(n)])
    found = [n for n in mesh.names if f"{BOUNDARY}{_identifier(n)}" == name]
    return on_boundary(mesh, found[0] if found else "")


def _with(dataset: xr.Dataset, columns: Mapping[Field, Any], static: Sequence[Field]) -> xr.Dataset:
    made = dataset.assign({f.name: (NODE, a, {"units": f.units, "field": f.name}) for f, a in columns.items()})
    return declare(made, static=Fields(tuple(static)))


def _boundary(name: str) -> Field:
    return Field(f"{BOUNDARY}{_identifier(name)}", long_name=f"on the boundary {name}")


def _reading(dataset: xr.Dataset, mesh: Mesh | None) -> Callable[[], Mesh]:
    """The Mesh, made once and checked; one that is read later is asked for each time, since its reader keeps what it can."""
    if LATER in dataset.coords:
        return lambda: mesh_of(dataset)
    made = mesh or mesh_of(dataset)
    return lambda: made


def _entry(dataset: xr.Dataset) -> dict[str, Any]:
    """What the attribute `domain` says of a Mesh."""
    known: dict[str, Any] = json.loads(str(dataset.attrs.get("domain", "{}")))
    if known.get("type") != "mesh":
        mesh_of(dataset)  # which says what is wrong
    return known


def mesh_of(dataset: xr.Dataset) -> Mesh:
    """Raises ValueError for a domain that is no Mesh."""
    mesh = domain_of(dataset)
    if not isinstance(mesh, Mesh):
        raise ValueError(f"boundaries by name are those of a Mesh, and the Dataset lies on a {type(mesh).__name__}")
    return mesh


def on_boundary(mesh: Mesh, name: str) -> Float[Tensor, " node"]:
    """1 on the boundary, 0 elsewhere and where the mesh has none of that name."""
    there = mesh.boundary(name) if name in mesh.names else torch.zeros(mesh.shape, dtype=torch.bool)
    return there.to(torch.float32)


def wall_distance(mesh: Mesh, walls: Sequence[str]) -> Float[Tensor, " node"]:
    """The distance of every node to the nearest wall, float32, in the mesh's units. Raises ValueError where it has none of them."""
    from scipy.spatial import cKDTree

    on = torch.zeros(mesh.shape, dtype=torch.bool)
    for name in walls:
        on |= on_boundary(mesh, name) > 0
    if not bool(on.any()):
        raise ValueError(f"{mesh} has none of the walls {', '.join(walls)}; its boundaries are {', '.join(mesh.names) or 'not named'}")
    x, nodes = mesh.points.numpy(), on.nonzero()[:, 0].numpy()
    periods = [p or 0.0 for p in mesh.periods]
    tree = cKDTree(_wrapped(x[nodes], periods), boxsize=periods if any(periods) else None)
    found, near = tree.query(_wrapped(x, periods), k=min(NEAREST, len(nodes)))
    distance = torch.from_numpy(np.asarray(found).reshape(len(x), -1)[:, 0])
    facets = wall_facets(mesh, on)
    if len(facets) and not any(periods):
        distance = torch.minimum(distance, _to_facets(mesh.points, facets, torch.from_numpy(nodes[np.asarray(near).reshape(len(x), -1)])))
    return torch.where(on, 0.0, distance).to(torch.float32)


def wall_distance_or_extent(mesh: Mesh, walls: Sequence[str]) -> Float[Tensor, " node"]:
    """`wall_distance`, and where the mesh has none of the walls the diagonal of its bounding box, from all nodes alike."""
    if any(bool(on_boundary(mesh, n).any()) for n in walls):
        return wall_distance(mesh, walls)
    extent: Tensor = vector_norm(mesh.points.amax(0) - mesh.points.amin(0))
    return extent.to(torch.float32).expand(mesh.shape).clone()


def wall_facets(mesh: Mesh, on: Bool[Tensor, " node"]) -> Int[Tensor, "facet D"]:
    """The facets of the boundary all of whose corners are on the walls; none for a mesh whose cells do not fill its space."""
    from surrogates.constraints.facets import boundary_facets

    if mesh.cells is None or mesh.cells.shape[1] != mesh.dim + 1:
        return torch.zeros(0, mesh.dim, dtype=torch.long)
    corners: Tensor = boundary_facets(mesh).corners
    inside: Tensor = on[corners].all(1)
    return corners[inside]


def _to_facets(points: Tensor, facets: Tensor, near: Int[Tensor, "node k"]) -> Float[Tensor, " node"]:
    """To the facets around the nodes `near` each node: every boundary node knows its facets, padded with its first."""
    count, dim = len(points), facets.shape[1]
    owner, which = facets.reshape(-1), torch.arange(len(facets)).repeat_interleave(dim)
    order = owner.argsort(stable=True)
    owner, which = owner[order], which[order]
    degree = torch.bincount(owner, minlength=count)
    first = degree.cumsum(0) - degree
    out = torch.full((count,), torch.inf, dtype=torch.float64)
    for j in range(near.shape[1]):
        for i in range(int(degree.max())):
            has = degree[near[:, j]] > i
            if bool(has.any()):
                facet = facets[which[first[near[has, j]] + i]]
                out[has] = torch.minimum(out[has], _distance(points[has], points[facet]))
    return out


def _distance(x: Float[Tensor, "n D"], corners: Float[Tensor, "n K D"]) -> Float[Tensor, " n"]:
    """To points, segments or triangles, the one of each row: to its plane where the foot lies within, else to its sides."""
    count = corners.shape[1]
    if count == 1:
        alone: Tensor = vector_norm(x - corners[:, 0], dim=1)
        return alone
    if count == 2:
        a, side = corners[:, 0], corners[:, 1] - corners[:, 0]
        t = (((x - a) * side).sum(1) / side.square().sum(1)).clamp(0, 1)
        along: Tensor = vector_norm(x - a - t[:, None] * side, dim=1)
        return along
    sides = torch.stack([_distance(x, corners[:, [i, (i + 1) % 3]]) for i in range(3)]).amin(0)
    a, u, v = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    weights = torch.linalg.solve(
        torch.stack([torch.stack([(p * q).sum(1) for q in (u, v)], 1) for p in (u, v)], 1),
        torch.stack([((x - a) * p).sum(1) for p in (u, v)], 1)[..., None],
    )[..., 0]
    inside = (weights >= 0).all(1) & (weights.sum(1) <= 1)
    foot = a + weights[:, :1] * u + weights[:, 1:] * v
    return torch.where(inside, vector_norm(x - foot, dim=1), sides)


def _wrapped(x: np.ndarray, periods: Sequence[float]) -> np.ndarray:
    """Into the box of the periods, as the search tree needs."""
    period = np.array([p or np.inf for p in periods])
    return np.where(np.isinf(period), x, np.mod(x, np.where(np.isinf(period), 1.0, period)))


def _later(make: Callable[[], Tensor], dataset: xr.Dataset) -> Any:
    import dask
    import dask.array as da

    delayed = dask.delayed(lambda: make().numpy())()  # type: ignore[attr-defined]
    return da.from_delayed(delayed, (dataset.sizes[NODE],), np.float32)  # type: ignore[no-untyped-call]


def _identifier(name: str) -> str:
    plain = re.sub(r"\W", "_", name)
    return plain if plain.isidentifier() or plain[:1].isdigit() else f"_{plain}"
