"""Meshes joined and separated, written down and read: block-diagonal batches, JSON, torch_geometric's `Data`.

What makes a Mesh returns the arguments that it is made of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from surrogates.domains.mesh_edges import both_ways, of_cells
from surrogates.domains.mesh_measure import dual_measure, volumes

if TYPE_CHECKING:
    from surrogates.domains.mesh import Mesh

Arguments = dict[str, Any]


def batch(meshes: Sequence[Mesh]) -> Arguments:
    """One block-diagonal mesh of all members."""
    if not meshes:
        raise ValueError("a batch needs at least one mesh")
    first = meshes[0]
    for name in ("dim", "periods", "units"):
        found = {getattr(m, name) for m in meshes}
        if len(found) > 1:
            raise ValueError(f"meshes of one batch must agree in {name}, got {', '.join(map(str, found))}")
    corners = {None if m.cells is None else m.cells.shape[1] for m in meshes}
    if len(corners) > 1:
        raise ValueError(f"meshes of one batch must have cells of one kind, or none; got corner counts {corners}")
    nodes, members = _starts([m.shape[0] for m in meshes]), _starts([m.members for m in meshes])
    names = tuple(dict.fromkeys(name for m in meshes for name in m.names))
    cells = [m.cells + start for m, start in zip(meshes, nodes, strict=False) if m.cells is not None]
    return {
        "points": torch.cat([m.points for m in meshes]),
        "edges": torch.cat([m.edges + start for m, start in zip(meshes, nodes, strict=False)], 1),
        "measure": torch.cat([m.measure for m in meshes]),
        "cells": torch.cat(cells) if cells else None,
        "markers": torch.cat([_renamed(m, names) for m in meshes]),
        "names": names,
        "member": torch.cat([m.member + start for m, start in zip(meshes, members, strict=False)]),
        "members": members[-1],
        "periods": first.periods,
        "units": first.units,
    }


def _starts(counts: list[int]) -> list[int]:
    return [sum(counts[:i]) for i in range(len(counts) + 1)]


def _renamed(m: Mesh, names: tuple[str, ...]) -> Tensor:
    """Its markers, counted in `names`."""
    table = torch.tensor([0, *(names.index(name) + 1 for name in m.names)], device=m.markers.device)
    return table[m.markers]


def separate(m: Mesh) -> list[Arguments]:
    """The members one by one."""
    starts = _starts(torch.bincount(m.member, minlength=m.members).tolist())
    found = []
    for start, end in pairwise(starts):
        edges = m.edges[:, (m.edges[1] >= start) & (m.edges[1] < end)] - start
        cells = None if m.cells is None else m.cells[(m.cells[:, 0] >= start) & (m.cells[:, 0] < end)] - start
        own = {name: getattr(m, name)[start:end] for name in ("points", "measure", "markers")}
        found.append(own | {"edges": edges, "cells": cells, "names": m.names, "periods": m.periods, "units": m.units})
    return found


def to_json(m: Mesh) -> dict[str, Any]:
    """Python writes a float64 so that it reads back exactly."""
    return {
        "type": "mesh",
        "points": m.points.tolist(),
        "edges": m.edges.tolist(),
        "measure": m.measure.tolist(),
        "cells": None if m.cells is None else m.cells.tolist(),
        "markers": m.markers.tolist(),
        "names": list(m.names),
        "member": m.member.tolist(),
        "members": m.members,
        "periods": list(m.periods),
        "units": m.units,
    }


def from_json(entry: Mapping[str, Any]) -> Arguments:
    """What `to_json` wrote. Raises ValueError for another type of domain."""
    if entry.get("type") != "mesh":
        raise ValueError(f"a Mesh is stored with type 'mesh', got {entry.get('type')!r}")
    return {
        "points": torch.tensor(entry["points"], dtype=torch.float64),
        "edges": torch.tensor(entry["edges"], dtype=torch.long).reshape(2, -1),
        "measure": torch.tensor(entry["measure"], dtype=torch.float64),
        "cells": None if entry["cells"] is None else torch.tensor(entry["cells"], dtype=torch.long),
        "markers": torch.tensor(entry["markers"], dtype=torch.long),
        "names": tuple(entry["names"]),
        "member": torch.tensor(entry["member"], dtype=torch.long),
        "members": entry["members"],
        "periods": tuple(entry["periods"]),
        "units": entry["units"],
    }


def to_data(m: Mesh) -> Any:
    """A `Data` under torch_geometric's names where it has them, ours elsewhere."""
    data = _geometric()(pos=m.points, edge_index=m.edges, batch=m.member, measure=m.measure, markers=m.markers)
    if m.cells is not None:
        data.cells = m.cells
    data.names, data.members, data.periods, data.units = m.names, m.members, m.periods, m.units
    return data


def from_data(data: Any) -> Arguments:
    """A Mesh of a `Data`; what it lacks is made as by `Mesh.from_cells` and the cloud constructors."""
    if data.pos is None:
        raise ValueError("this Data has no positions; set data.pos to (node, D) coordinates")
    x = data.pos.double()
    n = len(x)
    periods = tuple(data.get("periods") or (None,) * x.shape[1])
    cells = data.get("cells")
    if cells is None and data.get("face") is not None:
        cells = data.face.T
    if data.edge_index is None and cells is None:
        raise ValueError("this Data has neither edge_index nor face; Mesh.from_nearest(data.pos, k) makes edges of positions alone")
    edges = of_cells(cells, n) if data.edge_index is None else both_ways(data.edge_index, n)
    measure = data.get("measure")
    if measure is None:
        share = torch.full((n,), 1 / n, dtype=torch.float64, device=x.device)
        measure = share if cells is None else dual_measure(volumes(x, cells, periods), cells, n)
    made = {"points": x, "edges": edges, "measure": measure, "cells": cells, "periods": periods}
    if data.get("batch") is not None:
        made |= {"member": data.batch, "members": data.get("members") or int(data.batch.max()) + 1}
    return made | {name: data[name] for name in ("markers", "names", "units") if data.get(name) is not None}


def _geometric() -> Any:
    try:
        from torch_geometric.data import Data
    except ImportError as error:
        raise ImportError("this needs torch_geometric: pip install 'torch-geometric>=2.6'") from error
    return Data
