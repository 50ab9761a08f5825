"""A domain as a Dataset holds it: coordinates with CF names and units, and a line of JSON that tells the rest.

    Box      x, y, z: one coordinate an axis, in the units of the box
    Masked   as its grid; which cells are wet is in the JSON, one bit a cell
    Sphere, Patch   lat, lon in degrees_north, degrees_east (CF conventions 4.1, 4.2); either way up
    Mesh     dim node with coordinates x, y, z; edges, cells, measure, markers and member are variables `mesh_*`, since JSON of a large
             mesh does not fit an attribute (HDF5 takes 64 KiB); `mesh` names them as UGRID does. One that is read when it is looked at
             is the value of `mesh_later` instead (`mesh_later`)

Sources: https://cfconventions.org/cf-conventions/cf-conventions.html, https://ugrid-conventions.github.io/ugrid-conventions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from surrogates.domains.box import AXES, Box
from surrogates.domains.masked import Masked
from surrogates.domains.mesh import Mesh
from surrogates.domains.mesh_later import LATER, LaterMesh
from surrogates.domains.patch import Patch
from surrogates.domains.sphere import Sphere

AnyDomain = Box | Masked | Mesh | Patch | Sphere
Described = AnyDomain | LaterMesh
"""What a Dataset can be made for: a domain, or the size of a mesh that is read later."""
NODE, MESH = "node", "mesh"
GLOBE = ("lat", "lon")
SPACE = (*AXES, *GLOBE, NODE)
"""Every dim that may be one of space."""
_PARTS = {"edges": ("end", "edge"), "measure": (NODE,), "cells": ("cell", "corner"), "markers": (NODE,), "member": (NODE,)}
_CONNECTIVITY = {2: "edge_node_connectivity", 3: "face_node_connectivity", 4: "volume_node_connectivity"}


def same(one: AnyDomain, other: AnyDomain) -> bool:
    """Whether both are the same geometry, meshes node for node."""
    if isinstance(one, Mesh) and isinstance(other, Mesh):
        pairs = [(getattr(one, part), getattr(other, part)) for part in ("points", *_PARTS)]
        return entry(one) == entry(other) and all(a is b is None or (a is not None and b is not None and a.equal(b)) for a, b in pairs)
    return one == other


def axes(domain: Described) -> tuple[str, ...]:
    """The dims of a field on it."""
    return (NODE,) if isinstance(domain, Mesh | LaterMesh) else domain.axes


def coords(domain: Described) -> dict[str, tuple[Any, ...]]:
    """(dims, values, attributes) of every coordinate."""
    if isinstance(domain, Mesh):
        return _of_mesh(domain)
    if isinstance(domain, LaterMesh):
        return _of_later(domain)
    values = [domain.coordinate(a).numpy() for a in range(domain.dim)]
    if domain.axes == GLOBE:
        lat = {"units": "degrees_north", "standard_name": "latitude", "axis": "Y"}
        lon = {"units": "degrees_east", "standard_name": "longitude", "axis": "X"}
        return {"lat": ("lat", values[0], lat), "lon": ("lon", values[1], lon)}
    return {name: (name, v, {"units": domain.units, "axis": name.upper()}) for name, v in zip(domain.axes, values, strict=True)}


def _of_mesh(m: Mesh) -> dict[str, tuple[Any, ...]]:
    parts = {part: getattr(m, part) for part in _PARTS if getattr(m, part) is not None}
    return mesh_coords(m.points.cpu().numpy(), {part: value.cpu().numpy() for part, value in parts.items()}, m.units)


def _of_later(m: LaterMesh) -> dict[str, tuple[Any, ...]]:
    """Lazy coordinates, and the Mesh itself as one without dims."""
    import dask
    import dask.array as da

    def whole() -> NDArray[Any]:
        out = np.empty((), object)
        out[()] = m.read()
        return out

    def lazily(read: Any, shape: tuple[int, ...], dtype: Any) -> Any:
        return da.from_delayed(dask.delayed(read)(), shape, dtype)  # type: ignore[attr-defined, no-untyped-call]

    out: dict[str, tuple[Any, ...]] = {
        AXES[a]: (NODE, lazily(lambda a=a: m.read().points[:, a].numpy(), m.shape, np.float64), {"units": m.units}) for a in range(m.dim)
    }
    topology = {"cf_role": "mesh_topology", "topology_dimension": m.dim, "node_coordinates": " ".join(AXES[: m.dim])}
    return {**out, MESH: ((), np.int32(0), topology), LATER: ((), lazily(whole, (), object), {})}


def mesh_coords(points: NDArray[Any], parts: Mapping[str, NDArray[Any]], units: str) -> dict[str, tuple[Any, ...]]:
    """The coordinates of a Mesh from its arrays, of which none is read."""
    dim = points.shape[1]
    out: dict[str, tuple[Any, ...]] = {AXES[a]: (NODE, points[:, a], {"units": units}) for a in range(dim)}
    for part, dims in _PARTS.items():
        if part in parts:
            out[f"{MESH}_{part}"] = (dims, parts[part], {"start_index": 0} if part in ("edges", "cells") else {})
    topology = {"cf_role": "mesh_topology", "topology_dimension": dim, "node_coordinates": " ".join(AXES[:dim])}
    if "cells" in parts:
        topology[_CONNECTIVITY[parts["cells"].shape[1]]] = f"{MESH}_cells"
    out[MESH] = ((), np.int32(0), topology)
    return out


def entry(domain: Described) -> dict[str, Any]:
    """What JSON holds beside the coordinates: of a mesh only what is no array."""
    if not isinstance(domain, Mesh):
        return domain.to_json()
    plain = {"names": list(domain.names), "members": domain.members, "periods": list(domain.periods), "units": domain.units}
    return {"type": "mesh", "nodes": domain.shape[0], **plain}


def read(stored: Mapping[str, Any], sizes: Mapping[str, int], held: Mapping[str, NDArray[Any]]) -> AnyDomain:
    """The domain of an `entry`, checked against the sizes of dims and the coordinates beside it.

    Raises ValueError where they contradict each other, for an unknown type, and where arrays of a mesh are missing.
    """
    kind = stored.get("type")
    if kind == "mesh":
        return _read_mesh(stored, sizes, held)
    kinds: dict[Any, type[Box] | type[Masked] | type[Patch] | type[Sphere]] = {
        "box": Box,
        "masked": Masked,
        "patch": Patch,
        "sphere": Sphere,
    }
    if kind not in kinds:
        raise ValueError(f"the attribute 'domain' has type {kind!r}; write one of 'box', 'masked', 'patch', 'sphere', 'mesh'")
    domain = kinds[kind].from_json(stored)
    shape = tuple(int(sizes[a]) for a in domain.axes if a in sizes)
    if shape != domain.shape:
        raise ValueError(f"the Dataset has grid {shape} but its attribute 'domain' says {domain.shape}; was it cropped or thinned?")
    if domain.axes == GLOBE and "lat" in held and domain.shape[0] > 1:
        domain = _turned(domain, bool(held["lat"][0] > held["lat"][-1]))  # `sortby("lat")` turns it over
    for axis, name in enumerate(domain.axes):
        size = 180.0 if isinstance(domain, Sphere) else domain.lengths[axis]
        if name in held and not np.allclose(held[name], domain.coordinate(axis).numpy(), rtol=1e-5, atol=1e-6 * size):
            raise ValueError(f"coordinate {name!r} does not lie where the Dataset's 'domain' says: {domain!r}")
    return domain


def _turned(domain: Box | Masked | Patch | Sphere, north_first: bool) -> Box | Masked | Patch | Sphere:
    """The domain with its latitudes falling, or rising."""
    if isinstance(domain, Masked) and isinstance(domain.box, Patch | Sphere):
        over = domain.box.north_first != north_first
        return Masked(replace(domain.box, north_first=north_first), domain.wet.flip(0) if over else domain.wet)
    return replace(domain, north_first=north_first) if isinstance(domain, Patch | Sphere) else domain


def _read_mesh(stored: Mapping[str, Any], sizes: Mapping[str, int], held: Mapping[str, NDArray[Any]]) -> Mesh:
    if sizes.get(NODE) != stored.get("nodes"):
        raise ValueError(
            f"the Dataset has {sizes.get(NODE, 'no')} nodes but its attribute 'domain' says {stored.get('nodes')}; "
            "was it cropped or thinned?"
        )
    if LATER in held:
        later: Mesh = held[LATER].item()
        return later
    names = [AXES[a] for a in range(len(stored["periods"]))]
    needed = [*names, *(f"{MESH}_{part}" for part in _PARTS if part != "cells")]
    missing = [n for n in needed if n not in held]
    if missing:
        raise ValueError(f"the Dataset lacks the variables {', '.join(missing)} of its mesh; keep them when variables are dropped")
    parts: dict[str, Any] = {part: torch.from_numpy(np.array(held[f"{MESH}_{part}"])) for part in _PARTS if f"{MESH}_{part}" in held}
    points = torch.from_numpy(np.stack([held[n] for n in names], 1).astype(np.float64))
    plain = {"names": tuple(stored["names"]), "members": stored["members"], "periods": tuple(stored["periods"]), "units": stored["units"]}
    return Mesh(points, **parts, **plain)
