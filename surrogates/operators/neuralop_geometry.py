"""neuraloperator's networks with a regular grid inside, GINO and FNOGNO, behind the `Operator` contract on a `Mesh`.

    z(g) = sum_j m_j k_1(g, x_j) * (A u_j) / sum_j m_j      over the nodes within a radius of a point g of the grid
    z' = FNO(z)
    y(x) = P sum_g k_2(x, g) * z'(g)                        over the grid within that radius of a node x

with kernels k of the positions of both ends and m the measure of a node. GINO learns k_1; FNOGNO takes a plain mean (k_1 = 1). The grid
spans the bounding box of each member, or one period of an axis that has one, and the radius counts its spacings.

The weights, the kernels and the FNO are theirs. How sums are taken is ours, because theirs loops over the points in Python, measures all
pairs of points to find neighbours, knows neither periods nor the measure of a node, and takes one geometry a call. Where a mesh has one
member, no period and equal cells, their own forward gives the same numbers.

More traps that are avoided: their linear transform multiplies a kernel of `fno_in_channels` with as many input channels, and fails for
others (hence A, an affine map to `width`); positions in [0, 1] are almost one point to their default embedding (here sines of octaves,
which repeat with a period); a kernel's first hidden layer is left out, without a word, where it is as wide as its input, and so is the
last; open3d and torch-scatter are asked for. `_metadata` is treated as in `neuralop`.

What they cannot do: float64 (their spectral layer), odd leading axes of the grid, other transforms than the linear one, and the grid's
FFT wraps around where a mesh does not.

Source: Li et al., Geometry-Informed Neural Operator for Large-Scale 3D PDEs, 2023, https://arxiv.org/abs/2309.00583.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, prod
from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear

from surrogates.contracts import Domain
from surrogates.domains.mesh import Mesh
from surrogates.operators.checks import check_counts, check_mesh, check_numbers, per_axis
from surrogates.operators.graph import Graph, aggregate, gather_receivers, gather_senders
from surrogates.operators.neuralop import without_metadata
from surrogates.record import recorded


class OnGrid(nn.Module):
    """What GINO and FNOGNO share: the grid, the checks and the way back to the nodes."""

    model: nn.Module

    def __init__(
        self, in_channels: int, embedding: int, *, modes: Sequence[int], layers: int, grid: int | Sequence[int], radius: float
    ) -> None:
        super().__init__()
        self.in_channels, self.embedding, self.radius = in_channels, embedding, radius
        check_numbers(tuple(modes), layers=layers)
        self.grid = per_axis("grid", grid, len(modes), 2)
        self.full = [*modes[:-1], 2 * (modes[-1] - 1)]
        held = (*self.grid[:-1], self.grid[-1] // 2 + 1)
        if any(m > n for m, n in zip(modes, held, strict=True)):
            raise ValueError(f"a grid of {self.grid} holds {held} modes but modes={tuple(modes)}; refine the grid or ask for fewer")
        if any(n % 2 for n in self.grid[:-1]):
            raise ValueError(f"neuraloperator misplaces the modes of odd leading axes, got grid={self.grid}; make them even")
        least, most = len(modes) ** 0.5 / 2, (min(self.grid) - 1) / 2
        if not least <= radius <= most:
            raise ValueError(
                f"radius must lie between {least:.3g}, or nodes have no grid point near, and {most:.3g} for grid={self.grid}; got {radius}"
            )
        self.register_state_dict_post_hook(without_metadata)  # type: ignore[no-untyped-call]

    def check(self, x: Tensor, domain: Domain, embedding: Tensor | None) -> tuple[Between, Tensor]:
        """How nodes and grid are joined, and the values with the embedding as channels, (node, B, C)."""
        name, dim = type(self).__name__, len(self.grid)
        mesh = check_mesh(name, x, domain, embedding, channels=self.in_channels, size=self.embedding, dim=dim)
        if x.dtype == torch.float64:
            raise ValueError("neuraloperator's spectral layers are float32; pass x.float(), or use Transolver, which takes float64")
        if embedding is not None:
            x = torch.cat([x, mesh.expand(embedding).to(x.dtype)], 1)
        return between(mesh, self.grid, self.radius, x.dtype, x.device), x.permute(2, 0, 1)

    def rows(self, z: Float[Tensor, "point B C"], join: Between) -> Float[Tensor, "G *grid C"]:
        """A grid for each member of each row."""
        return z.view(join.members, *self.grid, *z.shape[1:]).movedim(-2, 0).flatten(0, 1)

    def back(self, z: Float[Tensor, "G C *grid"], join: Between, block: Any) -> Float[Tensor, "B Cout node"]:
        """From the grid to the nodes, and to the channels that are asked for."""
        z = z.reshape(-1, join.members, z.shape[1], prod(self.grid)).permute(1, 3, 0, 2).flatten(0, 1)  # (grid points of all members, B, C)
        h = integrate(block, z, join.back, join.points, join.nodes)
        y: Tensor = self.model.projection(h.permute(1, 2, 0))  # type: ignore[operator]
        return y


@recorded
class GINO(OnGrid):
    """neuraloperator's GINO from (B, in_channels, node) to (B, out_channels, node) on a `Mesh`, or several at once.

    modes: of the FNO inside, as in `FNO`: full counts but half on the last axis; as many as the mesh has dimensions. grid: its points,
    one number or one an axis. radius: of both integrals, in grid spacings. kernel: hidden widths of both kernels; octaves: of the positions
    in them. options: further arguments under their names. Not compiled whole: neighbours are searched outside the graph.
    Raises ImportError without neuraloperator, ValueError for numbers that do not fit and options that it refuses.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        embedding: int = 0,
        *,
        width: int = 32,
        modes: Sequence[int] = (12, 7),
        layers: int = 4,
        grid: int | Sequence[int] = 24,
        radius: float = 1.5,
        kernel: Sequence[int] = (64, 64),
        octaves: int = 4,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(in_channels, embedding, modes=modes, layers=layers, grid=grid, radius=radius)
        check_counts(width=width, kernel=min(kernel, default=1), octaves=octaves)
        sizes, spacing = [4 * octaves * len(modes), *kernel, width], radius / (max(self.grid) - 1)
        self.lift = nn.Linear(in_channels + embedding, width)
        settings = {
            "fno_in_channels": width,
            "fno_n_modes": tuple(self.full),
            "fno_hidden_channels": width,
            "fno_n_layers": layers,
            "gno_coord_dim": len(modes),
            "gno_embed_channels": octaves,
            "in_gno_pos_embed_type": "nerf",
            "out_gno_pos_embed_type": "nerf",
            "in_gno_radius": spacing,
            "out_gno_radius": spacing,
            "in_gno_channel_mlp_hidden_layers": list(sizes),
            "out_gno_channel_mlp_hidden_layers": list(sizes),
        }
        self.model = _build("GINO", width, out_channels, settings, options)

    def forward(
        self, x: Float[Tensor, "B Cin *X"], domain: Domain, embedding: Float[Tensor, "G E"] | None = None
    ) -> Float[Tensor, "B Cout *X"]:
        """Normalised fields to normalised fields.

        Raises TypeError for a domain that is not a Mesh, ValueError for the wrong dimension, channels or embedding, and for float64.
        """
        join, u = self.check(x, domain, embedding)
        z = integrate(self.model.gno_in, self.lift(u), join.there, join.nodes, join.points, join.share)
        return self.back(self.model.latent_embedding(self.rows(z, join)), join, self.model.gno_out)  # type: ignore[operator]


@recorded
class FNOGNO(OnGrid):
    """neuraloperator's FNOGNO from (B, in_channels, node) to (B, out_channels, node) on a `Mesh`; arguments and errors as in `GINO`."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        embedding: int = 0,
        *,
        width: int = 32,
        modes: Sequence[int] = (12, 7),
        layers: int = 4,
        grid: int | Sequence[int] = 24,
        radius: float = 1.5,
        kernel: Sequence[int] = (64, 64),
        octaves: int = 4,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(in_channels, embedding, modes=modes, layers=layers, grid=grid, radius=radius)
        check_counts(width=width, kernel=min(kernel, default=1), octaves=octaves)
        settings = {
            "fno_n_modes": tuple(self.full),
            "fno_hidden_channels": width,
            "fno_n_layers": layers,
            "gno_coord_dim": len(modes),
            "gno_embed_channels": octaves,
            "gno_pos_embed_type": "nerf",
            "gno_radius": radius / (max(self.grid) - 1),
            "gno_channel_mlp_hidden_layers": [4 * octaves * len(modes), *kernel, width],
            "gno_batched": True,
        }
        self.model = _build("FNOGNO", in_channels + embedding, out_channels, settings, options)

    def forward(
        self, x: Float[Tensor, "B Cin *X"], domain: Domain, embedding: Float[Tensor, "G E"] | None = None
    ) -> Float[Tensor, "B Cout *X"]:
        """As `GINO`."""
        join, u = self.check(x, domain, embedding)
        z = aggregate(join.there, join.share * gather_senders(join.there, u))
        where = join.points[: prod(self.grid)].reshape(*self.grid, -1)
        return self.back(self.model.latent_embedding(where, self.rows(z, join)), join, self.model.gno)  # type: ignore[operator]


def _build(model: str, in_channels: int, out_channels: int, settings: dict[str, Any], options: Mapping[str, Any] | None) -> nn.Module:
    try:
        from neuralop import models
    except ImportError as error:
        raise ImportError("this operator needs neuraloperator: pip install 'neuraloperator>=2.0,<3'") from error
    given = {name: list(value) if isinstance(value, tuple) else value for name, value in (options or {}).items()}
    settings = settings | {"gno_use_open3d": False, "gno_use_torch_scatter": False} | given
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            built: nn.Module = getattr(models, model)(in_channels=in_channels, out_channels=out_channels, **settings)
    except (TypeError, ValueError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"neuraloperator's {model} refuses {settings}: {error}") from error
    return built


def integrate(
    block: Any,
    f: Float[Tensor, "source B C"],
    graph: Graph,
    sources: Float[Tensor, "source D"],
    targets: Float[Tensor, "target D"],
    share: Float[Tensor, "edge 1 1"] | None = None,
) -> Float[Tensor, "target B C"]:
    """sum_j share_j k(x_i, y_j) * f_j, with the kernel of a GNO block; its first layer is taken at the ends before they are joined."""
    first, *rest = block.integral_transform.channel_mlp.fcs
    there, here = first.weight.chunk(2, 1)
    k = gather_senders(graph, linear(block.pos_embedding(sources), there))
    k = k + gather_receivers(graph, linear(block.pos_embedding(targets), here, first.bias))
    for layer in rest:
        k = layer(block.integral_transform.channel_mlp.non_linearity(k))
    e = k[:, None] * gather_senders(graph, f)
    return aggregate(graph, e if share is None else share * e)


@dataclass(frozen=True, eq=False)
class Between:
    """Nodes and grid points (of one member after the other), in [0, 1], or [0, 2) on axes that repeat, and the edges there and back.

    share: the measure of the node that an edge leaves, as a part of all that end in one grid point.
    """

    members: int
    nodes: Float[Tensor, "node D"]
    points: Float[Tensor, "point D"]
    there: Graph
    back: Graph
    share: Float[Tensor, "edge 1 1"]


_made: WeakKeyDictionary[Mesh, dict[Any, Between]] = WeakKeyDictionary()


@torch.compiler.disable  # type: ignore[untyped-decorator]
def between(mesh: Mesh, grid: tuple[int, ...], radius: float, dtype: torch.dtype, device: torch.device) -> Between:
    """Made once for each mesh, and forgotten with it."""
    known, key = _made.setdefault(mesh, {}), (grid, radius, dtype, device)
    if key not in known:
        with torch.inference_mode(False), torch.no_grad():
            known[key] = _join(mesh, grid, radius, dtype, device)
    return known[key]


def _join(mesh: Mesh, grid: tuple[int, ...], radius: float, dtype: torch.dtype, device: torch.device) -> Between:
    x, member, measure = mesh.points.to(device), mesh.member.to(device), mesh.measure.to(device)
    repeats = torch.tensor([period is not None for period in mesh.periods], device=device)
    size = torch.tensor(grid, device=device)
    steps = torch.where(repeats, size, size - 1)
    at = _scaled(x, member, mesh) * steps  # in grid spacings
    node, point = _near(at, size, repeats, radius)
    cells = prod(grid)
    stride = torch.tensor([prod(grid[axis + 1 :]) for axis in range(len(grid))], device=device)
    cell = member[node] * cells + (point * stride).sum(1)
    total = measure.new_zeros(mesh.members * cells).index_add(0, cell, measure[node])
    order = cell.argsort(stable=True)
    there = Graph.of(torch.stack([node, cell])[:, order], mesh.members * cells, dtype, len(x))
    back = Graph.of(torch.stack([cell, node]), len(x), dtype, mesh.members * cells)
    unit = torch.where(repeats, 2.0, 1.0) / steps
    lattice = torch.cartesian_prod(*(torch.arange(n, device=device) for n in grid)).reshape(cells, -1)
    points = (lattice * unit).repeat(mesh.members, 1)
    share = (measure[node] / total[cell])[order, None, None]
    return Between(mesh.members, (at * unit).to(dtype), points.to(dtype), there, back, share.to(dtype))


def _scaled(x: Tensor, member: Tensor, mesh: Mesh) -> Tensor:
    """Positions as parts of the member's bounding box, or of a period, float64."""
    index = member[:, None].expand_as(x)
    empty = x.new_zeros(mesh.members, x.shape[1])
    lower, upper = (empty.scatter_reduce(0, index, x, how, include_self=False) for how in ("amin", "amax"))
    extent = torch.where(upper > lower, upper - lower, 1.0)
    columns = [
        (x[:, a] - lower[member, a]) / extent[member, a] if period is None else (x[:, a] / period) % 1.0
        for a, period in enumerate(mesh.periods)
    ]
    return torch.stack(columns, 1)


def _near(at: Tensor, size: Tensor, repeats: Tensor, radius: float) -> tuple[Tensor, Tensor]:
    """(node, grid point) of all pairs within the radius, by node: the lattice around each node is looked through, no search is needed."""
    reach = ceil(radius)
    offset = torch.cartesian_prod(*(torch.arange(-reach, reach + 2, device=at.device),) * at.shape[1]).reshape(-1, at.shape[1])
    lattice = at.floor().long()[:, None] + offset
    near = (lattice - at[:, None]).square().sum(-1) <= radius**2
    wrapped = torch.where(repeats, lattice % size, lattice)
    near &= ((wrapped >= 0) & (wrapped < size)).all(-1)
    node, which = near.nonzero(as_tuple=True)
    return node, wrapped[node, which]
