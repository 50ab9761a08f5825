"""Normalisation of features over the nodes of each member by mean and variance under the measure, without parameters:

    h <- (h - <h>) / sqrt(<(h - <h>)^2> + 1e-5),      <h> = integral of h / volume.

Where all nodes have one measure this is instance normalisation; elsewhere it does not depend on where the mesh is refined.
"""

from __future__ import annotations

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from surrogates.domains.kept import kept
from surrogates.domains.mesh import Mesh
from surrogates.operators.mesh_inputs import Inputs


@dataclass(frozen=True, eq=False)
class Share:
    """Every node's part of its member's measure, and the member; nodes that only fill up have no part."""

    share: Float[Tensor, " node"]
    member: Int[Tensor, " node"] | None
    members: int

    def normalise(self, h: Float[Tensor, "node B W"]) -> Float[Tensor, "node B W"]:
        """Every feature to mean 0 and variance 1 over the nodes of each member, in the type of the shares, also under autocast."""
        with torch.autocast(h.device.type, enabled=False):
            h = h.to(self.share.dtype)
            h = h - self.average(h)
            return h * (self.average(h.square()) + 1e-5).rsqrt()

    def average(self, h: Float[Tensor, "node B W"]) -> Float[Tensor, "_ B W"]:
        """The mean of each member at its nodes; one node that stands for all where there is one member."""
        if self.member is None:
            return (self.share @ h.flatten(1)).view(1, *h.shape[1:])
        sums = h.new_zeros(self.members, *h.shape[1:]).index_add(0, self.member, h * self.share[:, None, None])
        return sums.index_select(0, self.member)


_shares: WeakKeyDictionary[Mesh, dict[object, Share]] = WeakKeyDictionary()
_smallest: WeakKeyDictionary[Mesh, int] = WeakKeyDictionary()


def shares(mesh: Mesh, seen: Inputs, dtype: torch.dtype, device: torch.device) -> Share:
    """Made once for each mesh, and forgotten with it."""
    if torch.compiler.is_compiling():
        return _shares_of(mesh, seen, dtype, device)
    known, key = _shares.setdefault(mesh, {}), (seen.nodes, dtype, device)
    if key not in known:
        with kept():
            known[key] = _shares_of(mesh, seen, dtype, device)
    return known[key]


def _shares_of(mesh: Mesh, seen: Inputs, dtype: torch.dtype, device: torch.device) -> Share:
    volumes = mesh.measure.new_zeros(mesh.members).index_add(0, mesh.member, mesh.measure)
    share = mesh.measure / volumes[mesh.member]
    return Share(pad(share, (0, seen.nodes - len(share))).to(device, dtype), seen.member, mesh.members)


def smallest_member(mesh: Mesh) -> int:
    """Nodes of the smallest member, counted once."""
    if mesh not in _smallest:
        _smallest[mesh] = int(torch.bincount(mesh.member).min())
    return _smallest[mesh]
