"""Message-passing PDE solver: a learned stencil on any mesh, and a decoder that gives a bundle of frames at once.

    h_i = E[u_i, p_i, theta]
    m_ij = phi[h_i, h_j, u_i - u_j, x_i - x_j, theta],    h_i <- N(h_i + psi[h_i, mean_j m_ij, theta])      in each of L layers
    d_i = conv_2(silu(conv_1 h_i)),    conv_1: 1 -> 8 of length 16, conv_2: 8 -> channels, along the features of a node

with silu networks of two layers, and N the normalisation of every feature over the nodes of a member by its mean and variance under the
measure (the mean over nodes where cells are equal), which has no parameters. Differences u_i - u_j and x_i - x_j (beyond the paper: with
its length |x_i - x_j|) are what finite differences are made of. The first layer of phi is split into products at nodes, so that edges
only add: [h_i, u_i] A + [h_j, u_j] B + [x_i - x_j, |x_i - x_j|] C.

Time: the paper writes u(t + k dt) = u(t) + k dt d_k. Here a network does not add u; the surrogate's target does. Where the targets are
increments of one frame, u(t + k dt) = u(t) + sum over l <= k of d_l, the factor k comes about by the sum, and where they are states there
is none to apply: leave time_factor=False. Where a target is the whole increment u(t + k dt) - u(t) of frame k, of one scale for all frames,
time_factor=True gives frame k the weight k/frames.

An embedding is theta; what multiplies it starts at zero. As N takes away what theta might have scaled, it also acts by FiLM: a gain and a
shift after N, and a gain on psi.

Source: Brandstetter, Worrall, Welling, Message Passing Neural PDE Solvers, 2022, https://arxiv.org/abs/2202.03376.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear, pad, silu

from surrogates.contracts import Domain
from surrogates.domains.mesh import Mesh
from surrogates.operators.bundle_decoder import BundleDecoder
from surrogates.operators.checks import check_counts, check_mesh, per_axis
from surrogates.operators.film import FiLM
from surrogates.operators.graph import aggregate, gather_receivers, gather_senders
from surrogates.operators.member_norm import Share, shares, smallest_member
from surrogates.operators.mesh_inputs import Inputs, Links, View, inputs
from surrogates.operators.points import points_of
from surrogates.operators.pointwise import Pointwise, affine
from surrogates.record import recorded


@recorded
class MPPDE(nn.Module):
    """A network from fields (B, in_channels, node) to fields (B, out_channels, node) on any `Mesh` in `dim` dimensions.

    frames: how many frames are decoded at once; out_channels = frames * C, ordered (frame, channel). Needs width >= frames + 10.
    positions: harmonics of a node's position that the encoder sees, one number or one an axis; with 0 only differences of positions
    count, and the network commutes with translations. boundaries, length: as in `MeshGraphNet`.
    Raises ValueError for impossible numbers.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        embedding: int = 0,
        *,
        dim: int = 2,
        width: int = 128,
        layers: int = 6,
        frames: int = 1,
        positions: int | Sequence[int] = 1,
        boundaries: Sequence[str] = (),
        length: float | None = None,
        time_factor: bool = False,
    ) -> None:
        super().__init__()
        check_counts(dim=dim, width=width, layers=layers, frames=frames)
        if length is not None and not length > 0:
            raise ValueError(f"length must be positive or None, got {length}")
        self.in_channels, self.out_channels, self.embedding, self.dim = in_channels, out_channels, embedding, dim
        self.frames, self.time_factor, self.view = frames, time_factor, View(tuple(boundaries), length)
        self.positions = per_axis("positions", positions, dim)
        first = in_channels + 2 * sum(self.positions) + len(boundaries)
        self.encode_in, self.encode_out = Pointwise(first, width), Pointwise(width, width)
        self.layers = nn.ModuleList(MessageLayer(width, in_channels, dim + 1) for _ in range(layers))
        self.theta = nn.Linear(embedding, (2 * layers + 1) * width, bias=False) if embedding else None
        if self.theta is not None:
            nn.init.zeros_(self.theta.weight)
        self.film = FiLM(embedding, width, layers) if embedding else None
        self.decode = BundleDecoder(width, out_channels, frames)
        factor = torch.arange(1, frames + 1, dtype=torch.float64) / frames
        self.register_buffer("factor", factor.repeat_interleave(out_channels // frames), persistent=False)

    def forward(
        self, x: Float[Tensor, "B Cin node"], domain: Domain, embedding: Float[Tensor, "G E"] | None = None
    ) -> Float[Tensor, "B Cout node"]:
        """Normalised fields to normalised fields.

        Raises TypeError for a domain that is not a Mesh, ValueError for the wrong dimension, channels or embedding, for a boundary that
        the network does not know, and for a member of one node, whose features have no variance to be normalised by.
        """
        mesh = check_mesh("MPPDE", x, domain, embedding, channels=self.in_channels, size=self.embedding, dim=self.dim)
        if not torch.compiler.is_compiling() and smallest_member(mesh) < 2:
            raise ValueError("MPPDE normalises over the nodes of a member, and one of this mesh has a single node: leave that member out")
        seen = inputs(mesh, self.view, len(x), x.dtype, x.device)
        share = shares(mesh, seen, x.dtype, x.device)
        u = pad(x.permute(2, 0, 1), (0, 0, 0, 0, 0, seen.nodes - x.shape[2]))
        thetas, modulations = self._conditions(embedding, seen, mesh.members)
        h = silu(self.encode_out(silu(_plus(self.encode_in(self._with_place(u, mesh, seen)), thetas[0]))))
        for i, (layer, modulation) in enumerate(zip(self.layers, modulations, strict=True)):
            h = layer(h, u, seen.links[0], share, thetas[2 * i + 1 : 2 * i + 3], modulation)
        d = self.decode(h[: x.shape[2]])
        if self.time_factor:
            d = d * self.factor.to(d.dtype)
        y: Tensor = d.permute(1, 2, 0)
        return y

    def _with_place(self, u: Tensor, mesh: Mesh, seen: Inputs) -> Tensor:
        """Values, positions and boundaries of nodes."""
        parts = [u]
        if any(self.positions):
            points = points_of(mesh, self.positions, u.dtype, u.device)
            p = points.fields(points.seen.mT).permute(2, 0, 1)
            parts.append(pad(p, (0, 0, 0, 0, 0, len(u) - len(p))).expand(-1, u.shape[1], -1))
        if self.view.boundaries:
            parts.append(seen.kinds.expand(-1, u.shape[1], -1))
        joined: Tensor = torch.cat(parts, -1) if len(parts) > 1 else u
        return joined

    def _conditions(self, embedding: Tensor | None, seen: Inputs, members: int) -> tuple[list[Tensor | None], list[tuple[Tensor, ...]]]:
        """What theta adds in the encoder and in both networks of each layer; gain, shift and second gain of each layer; at nodes."""
        count = len(self.layers)
        if embedding is None or self.theta is None or self.film is None:
            return [None] * (2 * count + 1), [()] * count
        thetas = [seen.spread(v, members) for v in self.theta(embedding).chunk(2 * count + 1, 1)]
        return list(thetas), [tuple(seen.spread(row, members) for row in rows) for rows in self.film(embedding)]


class MessageLayer(nn.Module):
    """h_i <- N(h_i + psi[h_i, mean_j phi[h_i, h_j, u_i - u_j, x_i - x_j, theta], theta])."""

    def __init__(self, width: int, channels: int, known: int) -> None:
        super().__init__()
        self.sizes = (width, width, channels, known)
        self.message_in, self.message_out = Pointwise(sum(self.sizes), width), Pointwise(width, width)
        self.update_in, self.update_out = Pointwise(2 * width, width), Pointwise(width, width)

    def forward(
        self,
        h: Float[Tensor, "node B W"],
        u: Float[Tensor, "node B C"],
        links: Links,
        share: Share,
        theta: Sequence[Tensor | None],
        modulation: tuple[Tensor, ...],
    ) -> Float[Tensor, "node B W"]:
        own, other, jump, apart = torch.split(self.message_in.weight, list(self.sizes), 1)
        hu = torch.cat([h, u], -1)
        here = _plus(affine(hu, torch.cat([own, jump], 1), self.message_in.bias), theta[0])
        z = gather_senders(links.graph, affine(hu, torch.cat([other, -jump], 1), None))  # new: what is added in place saves two copies
        z = z.add_(gather_receivers(links.graph, here)).add_(linear(links.features, apart))
        m = aggregate(links.graph, silu(self.message_out(silu(z))), mean=True)
        update = silu(self.update_out(silu(_plus(self.update_in(torch.cat([h, m], -1)), theta[1]))))
        gain, shift, gate = modulation or (None,) * 3
        y = share.normalise(h + update if gate is None else torch.addcmul(h, update, gate))
        return y if gain is None or shift is None else torch.addcmul(shift, y, gain)


def _plus(y: Tensor, theta: Tensor | None) -> Tensor:
    return y if theta is None else y + theta
