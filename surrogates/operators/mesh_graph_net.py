"""MeshGraphNet: encode nodes and edges, pass messages L times, decode the nodes.

    m_ij = f_e([e_ij, h_j, h_i]),   h'_i = h_i + f_v([h_i, sum_j m_ij]),   e'_ij = e_ij + m_ij

Each f is a perceptron with a LayerNorm at its end; the encoders are too, the decoder has no norm. Edges know the positions of their ends
only relative to each other, nodes know their fields and which boundary they are on, so the network commutes with translations and with
any renumbering of the nodes. World edges have an encoder and an f_e of their own, and a sum of their own in f_v.

The first layer of each f is linear in what it joins, so W [e, h_j, h_i] = W_1 e + (W_2 h)_j + (W_3 h)_i: the products with W_2 and W_3
are taken at the nodes, of which there are fewer than edges. An embedding acts by FiLM at the nodes, per member and channel:
h'_i = h_i + (1 + gamma) f_v([h_i, (1 + gamma') sum_j m_ij]) + beta.

Source: Pfaff et al., Learning Mesh-Based Simulation with Graph Networks, 2021, https://arxiv.org/abs/2010.03409.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad, relu_
from torch.utils.checkpoint import checkpoint as recomputed

from surrogates.contracts import Domain
from surrogates.operators.checks import check_counts, check_mesh
from surrogates.operators.film import FiLM
from surrogates.operators.graph import Graph, aggregate, gather_receivers, gather_senders
from surrogates.operators.mesh_inputs import View, inputs
from surrogates.operators.pointwise import Pointwise
from surrogates.record import recorded


@recorded
class MeshGraphNet(nn.Module):
    """A network from fields (B, in_channels, node) to fields (B, out_channels, node) on any `Mesh` in `dim` dimensions.

    layers: message passing steps, so how many edges far a node sees; hidden: hidden layers of each perceptron.
    boundaries: names of the boundaries that the network tells apart; none by default, so that markers are not looked at.
    length: the unit of length in which it sees edges, in the mesh's units, for instance a typical edge of the training meshes; by default
    the root mean square edge of the mesh at hand, so that scale is not seen. world_radius: in the mesh's units, adds world edges.
    checkpoint: recompute each layer in the backward pass, for the memory of one layer and of the nodes and edges between layers.
    It compiles whole, but world edges break the graph: a search tree finds them. Raises ValueError for impossible numbers.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        embedding: int = 0,
        *,
        dim: int = 2,
        width: int = 128,
        layers: int = 15,
        hidden: int = 2,
        boundaries: Sequence[str] = (),
        length: float | None = None,
        world_radius: float | None = None,
        checkpoint: bool = False,
    ) -> None:
        super().__init__()
        check_counts(width=width, layers=layers, hidden=hidden, dim=dim)
        for name, value in (("length", length), ("world_radius", world_radius)):
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be positive or None, got {value}")
        self.in_channels, self.out_channels, self.embedding, self.dim = in_channels, out_channels, embedding, dim
        self.view, self.checkpoint = View(tuple(boundaries), length, world_radius), checkpoint
        kinds = 1 if world_radius is None else 2
        self.encode = Perceptron((in_channels + len(boundaries),), width, width, hidden)
        self.encode_edges = nn.ModuleList(Perceptron((dim + 1,), width, width, hidden) for _ in range(kinds))
        self.blocks = nn.ModuleList(MessageBlock(width, hidden, kinds, last=i == layers - 1) for i in range(layers))
        self.film = FiLM(embedding, width, layers) if embedding else None
        self.decode = Perceptron((width,), width, out_channels, hidden, norm=False)

    def forward(
        self, x: Float[Tensor, "B Cin node"], domain: Domain, embedding: Float[Tensor, "G E"] | None = None
    ) -> Float[Tensor, "B Cout node"]:
        """Normalised fields to normalised fields.

        Raises TypeError for a domain that is not a Mesh, ValueError for the wrong dimension, channels or embedding, and for a mesh with
        a boundary that the network does not know (if it looks at boundaries).
        """
        mesh = check_mesh("MeshGraphNet", x, domain, embedding, channels=self.in_channels, size=self.embedding, dim=self.dim)
        seen = inputs(mesh, self.view, len(x), x.dtype, x.device)
        h = pad(x.permute(2, 0, 1), (0, 0, 0, 0, 0, seen.nodes - x.shape[2]))
        if self.view.boundaries:
            h = torch.cat([h, seen.kinds.expand(-1, len(x), -1)], 2)
        h = self.encode(h)
        edges = tuple(encode(link.features) for encode, link in zip(self.encode_edges, seen.links, strict=True))
        graphs = tuple(link.graph for link in seen.links)
        film = self.film(embedding) if self.film is not None else ((),) * len(self.blocks)
        for block, rows in zip(self.blocks, film, strict=True):
            modulation = tuple(seen.spread(row, mesh.members) for row in rows)
            if self.checkpoint and torch.is_grad_enabled():
                h, edges = recomputed(block, h, edges, graphs, modulation, use_reentrant=False)
            else:
                h, edges = block(h, edges, graphs, modulation)
        y: Tensor = self.decode(h)[: x.shape[2]]
        return y.permute(1, 2, 0)


class MessageBlock(nn.Module):
    """(h, e) -> (h + f_v, e + f_e) for each set of edges; the `last` leaves e as it is, for nothing reads it."""

    def __init__(self, width: int, hidden: int, kinds: int, *, last: bool) -> None:
        super().__init__()
        self.last = last
        self.messages = nn.ModuleList(Message(width, hidden) for _ in range(kinds))
        self.update = Perceptron((width,) * (1 + kinds), width, width, hidden)

    def forward(
        self, h: Tensor, edges: tuple[Tensor, ...], graphs: tuple[Graph, ...], modulation: tuple[Tensor, ...]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """h: (node, B, C), edges: (edge, B, C), or (edge, 1, C) while they are the same in every row."""
        gain, shift, gate = modulation or (None,) * 3
        sums, after = [], []
        for message, e, graph in zip(self.messages, edges, graphs, strict=True):
            m = message(h, e, graph)
            total = aggregate(graph, m)
            sums.append(total if gate is None else total * gate)
            after.append(e if self.last else e + m)
        v = self.update(h, *sums)
        return h + v if gain is None or shift is None else torch.addcmul(h + shift, v, gain), tuple(after)


class Perceptron(nn.Module):
    """`hidden` layers with relu over the concatenation of its arguments, an output and a LayerNorm, channels last.

    The first layer has one matrix for each argument, drawn as one matrix over all of them would be.
    """

    def __init__(self, sizes: tuple[int, ...], width: int, out: int, hidden: int, *, norm: bool = True) -> None:
        super().__init__()
        self.parts = nn.ModuleList(Pointwise(size, width, bias=i == 0) for i, size in enumerate(sizes))
        bound = max(sum(sizes), 1) ** -0.5
        for p in self.parts.parameters():
            nn.init.uniform_(p, -bound, bound)
        self.layers = nn.ModuleList(Pointwise(width, width if i < hidden - 1 else out) for i in range(hidden))
        self.norm = nn.LayerNorm(out) if norm else None

    def forward(self, *arguments: Float[Tensor, "point row _"]) -> Float[Tensor, "point row C"]:
        first, *rest = [part(a) for part, a in zip(self.parts, arguments, strict=True)]
        return self.after(sum(rest, first))

    def after(self, z: Float[Tensor, "point row H"]) -> Float[Tensor, "point row C"]:
        """What follows the first layer; writes to z."""
        for layer in self.layers:
            z = layer(relu_(z))
        return z if self.norm is None else self.norm(z)


class Message(Perceptron):
    """f_e([e_ij, h_j, h_i]) for every edge j -> i."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__((width,) * 3, width, width, hidden)

    def forward(self, h: Float[Tensor, "node B C"], e: Float[Tensor, "edge _ C"], graph: Graph) -> Float[Tensor, "edge B C"]:  # type: ignore[override]
        own, sender, receiver = self.parts
        z = gather_senders(graph, sender(h))  # a new tensor: adding to it in place saves two
        return self.after(z.add_(gather_receivers(graph, receiver(h))).add_(own(e)))
