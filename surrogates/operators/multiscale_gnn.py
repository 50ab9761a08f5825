"""Multi-scale graph network: messages on a mesh and on coarser ones made of it, from fine to coarse and back, in the shape of a U.

    h_i <- h_i + f_v([h_i, mean_j f_m([e_ij, h_j, h_i])])        an exchange along a set of edges j -> i

    up    on level l: exchanges within it; then l -> l + 1, where a coarse node starts as the fine node that it is
    down  l + 1 -> l, where a fine node keeps what it had on the way up; then exchanges within l

Each arrow and each level has f_m and f_v of its own. A node sees `layers` edges far on every level, and an edge of level l spans about
2^l of the mesh, so a few exchanges see a whole domain that message passing on one mesh would cross in as many steps as it has edges
across. The levels (`mesh_levels`) follow the mesh's refinement and connections, and are made once a mesh. An embedding acts by FiLM at
the nodes: h + (1 + gamma) f_v([h, (1 + gamma') mean m]) + beta.

There are no norms, and f_v starts at zero. With LayerNorms at the end of f_m and f_v, as the sources have them, small networks learnt
advection by a velocity in the embedding far more slowly (one problem, one seed, a few hundred steps; norms do take away how large a
difference between neighbours is, which may be why).

Source: Oskarsson, Landelius, Lindsten, Graph-based Neural Weather Prediction for Limited Area Modeling, 2023,
https://arxiv.org/abs/2309.17370 (Hi-LAM), and Fortunato et al., MultiScale MeshGraphNets, 2022, https://arxiv.org/abs/2210.00612.
There the coarse levels are regular grids or meshes of their own, nodes on them start from their positions, and edges keep a state.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad

from surrogates.contracts import Domain
from surrogates.operators.checks import check_counts, check_mesh
from surrogates.operators.film import FiLM
from surrogates.operators.graph import aggregate, gather_receivers, gather_senders
from surrogates.operators.mesh_graph_net import Perceptron
from surrogates.operators.mesh_inputs import Links, View, inputs
from surrogates.operators.mesh_levels import Place, hierarchy
from surrogates.record import recorded


@recorded
class MultiscaleGNN(nn.Module):
    """A network from fields (B, in_channels, node) to fields (B, out_channels, node) on any `Mesh` in `dim` dimensions.

    levels: coarser meshes, each of about 2^-dim of the nodes of the one before; a mesh may be smaller than they would need.
    layers: exchanges within a level each time it is visited, so 2 * layers a level and `layers` on the coarsest.
    boundaries, length: as in `MeshGraphNet`; the length is that of the edges of the mesh itself, and doubles with each level.
    It compiles whole, but anew for every mesh, whose coarser levels are constants of the compiled graph.
    Raises ValueError for impossible numbers.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        embedding: int = 0,
        *,
        dim: int = 2,
        width: int = 64,
        levels: int = 3,
        layers: int = 1,
        boundaries: Sequence[str] = (),
        length: float | None = None,
    ) -> None:
        super().__init__()
        check_counts(dim=dim, width=width, levels=levels, layers=layers)
        if length is not None and not length > 0:
            raise ValueError(f"length must be positive or None, got {length}")
        self.in_channels, self.out_channels, self.embedding, self.dim = in_channels, out_channels, embedding, dim
        self.levels, self.layers, self.view = levels, layers, View(tuple(boundaries), length)
        self.encode = Perceptron((in_channels + len(boundaries),), width, width, 1, norm=False)
        within, between = layers * (2 * levels + 1), 2 * levels
        self.blocks = nn.ModuleList(Exchange(width, dim + 1) for _ in range(within + between))
        self.film = FiLM(embedding, width, within + between) if embedding else None
        self.decode = Perceptron((width,), width, out_channels, 1, norm=False)

    def forward(
        self, x: Float[Tensor, "B Cin node"], domain: Domain, embedding: Float[Tensor, "G E"] | None = None
    ) -> Float[Tensor, "B Cout node"]:
        """Normalised fields to normalised fields. Raises as `MeshGraphNet` does."""
        mesh = check_mesh("MultiscaleGNN", x, domain, embedding, channels=self.in_channels, size=self.embedding, dim=self.dim)
        seen = inputs(mesh, self.view, len(x), x.dtype, x.device)
        places = hierarchy(mesh, self.levels, self.view, seen, x.dtype, x.device)
        h = pad(x.permute(2, 0, 1), (0, 0, 0, 0, 0, seen.nodes - x.shape[2]))
        if self.view.boundaries:
            h = torch.cat([h, seen.kinds.expand(-1, len(x), -1)], 2)
        h = self._through(self.encode(h), places, embedding, mesh.members)
        y: Tensor = self.decode(h)[: x.shape[2]]
        return y.permute(1, 2, 0)

    def _through(self, h: Tensor, places: tuple[Place, ...], embedding: Tensor | None, members: int) -> Tensor:
        """The way up and down again."""
        film = self.film(embedding) if self.film is not None and embedding is not None else ((),) * len(self.blocks)
        blocks = iter(zip(self.blocks, film, strict=True))

        def exchange(sources: Tensor, h: Tensor, links: Links, place: Place) -> Tensor:
            block, rows = next(blocks)
            out: Tensor = block(sources, h, links, tuple(place.spread(row, members) for row in rows))
            return out

        kept: list[Tensor] = []
        for place in places:
            if place.up is not None:
                kept.append(h)
                h = exchange(h, h.index_select(0, place.centres), place.up, place)
            for _ in range(self.layers):
                h = exchange(h, h, place.links, place)
        for place, coarser in zip(places[-2::-1], places[:0:-1], strict=True):
            assert coarser.down is not None
            h = exchange(h, kept.pop(), coarser.down, place)
            for _ in range(self.layers):
                h = exchange(h, h, place.links, place)
        return h


class Exchange(nn.Module):
    """h + f_v([h, mean f_m([e, h_sender, h])]) at the nodes that edges lead to; they may come from another level."""

    def __init__(self, width: int, known: int) -> None:
        super().__init__()
        self.message = Perceptron((known, width, width), width, width, 1, norm=False)
        self.update = Perceptron((width, width), width, width, 1, norm=False)
        for p in self.update.layers.parameters():
            nn.init.zeros_(p)

    def forward(
        self, sources: Float[Tensor, "source B C"], h: Float[Tensor, "node B C"], links: Links, modulation: tuple[Tensor, ...]
    ) -> Float[Tensor, "node B C"]:
        gain, shift, gate = modulation or (None,) * 3
        known, sender, receiver = self.message.parts
        z = gather_senders(links.graph, sender(sources))  # a new tensor: what is added in place saves two copies
        z = z.add_(gather_receivers(links.graph, receiver(h))).add_(known(links.features))
        m = aggregate(links.graph, self.message.after(z), mean=True)
        v = self.update(h, m if gate is None else m * gate)
        return h + v if gain is None or shift is None else torch.addcmul(h + shift, v, gain)
