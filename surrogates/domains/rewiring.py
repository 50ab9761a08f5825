"""Physics-informed rewiring: long edges from a mesh's bottlenecks to where the physics differs most from theirs.

Messages that must cross a narrow part of a graph are squeezed into few edges. The Ollivier-Ricci curvature of an edge finds such parts:
with mu_x the lazy random walk from x (stay with probability 1/2, else step to a neighbour), graph distances d and Wasserstein's W_1,

    kappa(x, y) = 1 - W_1(mu_x, mu_y),      kappa(x) = mean of kappa(x, y) over the neighbours y of x,

it is n/(2(n - 1)) in the complete graph of n nodes, 0 in a long cycle and 1/deg x + 1/deg y - 1 on a bridge. The share `fraction` of the
nodes with the lowest kappa(x) are the bottlenecks, and each is joined, both ways, to the node of the same member that maximises
|u(y) - u(x)|, the physical difference: what a network has to carry far gets an edge of its own.

Every W_1 is exact. Mass that both walks hold at one node stays there; the rest is a transport problem with the distances 1, 2 and 3 (no
more, around an edge), solved as a linear programme, many edges in one. 1500 edges take about .3 s.

Where the published form takes the largest difference over all nodes and drops the edge if it exists, neighbours are passed over here,
and a field without differences adds nothing. Differences are Euclidean over channels as they come: scale the channels first.

Source: Yu et al., PIORF: Physics-Informed Ollivier-Ricci Flow for Long-Range Interactions in Mesh Graph Neural Networks, 2025,
https://arxiv.org/abs/2504.04052; curvature: Ollivier, Ricci curvature of Markov chains on metric spaces, 2009,
https://arxiv.org/abs/math/0701886.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from scipy import sparse
from scipy.optimize import linprog
from torch import Tensor

from surrogates.domains.mesh import Mesh

CHUNK = 64  # edges a linear programme: one call a single edge takes 8 times as long, a thousand together a third longer
MASS = 1e-12  # differences of two walks below this are rounding: the least true one is 1/(2 deg x deg y)


def rewire(mesh: Mesh, field: Float[Tensor, "B C node"], fraction: float = 0.03) -> Mesh:
    """The same mesh with long edges, both ways, from each member's bottlenecks: `fraction` of its nodes, at least one.

    field: the physics that decides where they lead, channels on comparable scales; several rows (snapshots) count together.
    Points, measure, cells and markers stay. Raises ValueError for a fraction outside [0, 1] or a field of another mesh.
    """
    if not 0 <= fraction <= 1:
        raise ValueError(f"fraction must lie between 0 and 1, got {fraction}; .03 makes 3 % of the nodes bottlenecks")
    mesh.check(field)
    if fraction == 0:
        return mesh
    state = field.detach().double().cpu().permute(2, 0, 1).flatten(1).numpy()
    edges, member = mesh.edges.cpu().numpy(), mesh.member.cpu().numpy()
    kappa = _node_means(edges, _edge_curvature(edges, mesh.shape[0]), mesh.shape[0])
    near = _neighbours(edges, mesh.shape[0])
    joined = [
        pair
        for k in range(mesh.members)
        for pair in _joined(np.flatnonzero(member == k), kappa, state, near, fraction)  # members stay apart
    ]
    if not joined:
        return mesh
    far = np.array(joined).T
    merged = np.unique(np.concatenate([edges, far, far[::-1]], 1), axis=1)  # the mesh sorts them
    return replace(mesh, edges=torch.from_numpy(merged).to(mesh.edges))


def edge_curvature(mesh: Mesh) -> Float[Tensor, " edge"]:
    """Ollivier-Ricci curvature of every edge of `mesh.edges`, float64: the same both ways."""
    return torch.from_numpy(_edge_curvature(mesh.edges.cpu().numpy(), mesh.shape[0]))


def node_curvature(mesh: Mesh) -> Float[Tensor, " node"]:
    """The mean curvature of each node's edges, float64; infinite where it has none."""
    edges = mesh.edges.cpu().numpy()
    return torch.from_numpy(_node_means(edges, _edge_curvature(edges, mesh.shape[0]), mesh.shape[0]))


def _joined(nodes: np.ndarray, kappa: np.ndarray, state: np.ndarray, near: list[set[int]], fraction: float) -> list[tuple[int, int]]:
    """(bottleneck, where the physics differs most from it) for one member."""
    order = nodes[np.argsort(kappa[nodes], kind="stable")][: max(round(fraction * len(nodes)), 1)]
    out = []
    for x in order[np.isfinite(kappa[order])].tolist():
        difference = np.linalg.norm(state[nodes] - state[x], axis=1)
        difference[np.isin(nodes, [x, *near[x]])] = 0
        y = int(difference.argmax())
        if difference[y] > 0:
            out.append((x, int(nodes[y])))
    return out


def _node_means(edges: np.ndarray, kappa: np.ndarray, count: int) -> np.ndarray:
    degree, total = np.bincount(edges[1], minlength=count), np.bincount(edges[1], kappa, minlength=count)
    return np.where(degree > 0, total / np.maximum(degree, 1), np.inf)


def _neighbours(edges: np.ndarray, count: int) -> list[set[int]]:
    near: list[set[int]] = [set() for _ in range(count)]
    for x, y in edges.T.tolist():
        near[y].add(x)
    return near


def _edge_curvature(edges: np.ndarray, count: int) -> np.ndarray:
    """1 - W_1 of every edge; each pair is solved once, in the order (lesser, greater)."""
    pairs, which = np.unique(np.sort(edges, axis=0), axis=1, return_inverse=True)
    ones = sparse.csr_matrix((np.ones(edges.shape[1]), (edges[1], edges[0])), (count, count))
    degree = np.maximum(np.diff(ones.indptr), 1)
    walk = (sparse.identity(count, format="csr") + sparse.diags(1 / degree) @ ones).tocsr() / 2
    near = _neighbours(edges, count)
    parts = [_wasserstein((walk[x] - walk[y]).tocsr(), near) for x, y in (pairs[:, i : i + CHUNK] for i in range(0, pairs.shape[1], CHUNK))]
    return 1 - np.concatenate(parts)[which.reshape(-1)] if parts else np.zeros(0)


def _wasserstein(excess: sparse.csr_matrix, near: list[set[int]]) -> np.ndarray:
    """The least cost of levelling each row of mass differences, all rows as one block-diagonal linear programme.

    One variable for each (source, sink), which share no node; one equation for each source and each sink.
    """
    costs, rows, owners, masses, start = [], [], [], [], 0
    for k in range(excess.shape[0]):
        at = slice(excess.indptr[k], excess.indptr[k + 1])
        node, mass = excess.indices[at], excess.data[at]
        more, less = mass > MASS, mass < -MASS
        source, sink = node[more].tolist(), node[less].tolist()
        v = np.arange(len(source) * len(sink))
        costs += [_distance(p, q, near) for p in source for q in sink]
        rows.append(np.stack([start + v // max(len(sink), 1), start + len(source) + v % max(len(sink), 1)]))
        owners.append(np.full(len(v), k))
        masses.append(np.concatenate([mass[more], -mass[less]]))
        start += len(source) + len(sink)
    if not costs:
        return np.zeros(excess.shape[0])
    cost, row, owner, mass = np.array(costs, dtype=float), np.concatenate(rows, 1), np.concatenate(owners), np.concatenate(masses)
    column = np.tile(np.arange(len(cost)), 2)
    equations = sparse.csr_matrix((np.ones(2 * len(cost)), (row.reshape(-1), column)), (len(mass), len(cost)))
    plan = linprog(cost, A_eq=equations, b_eq=mass, method="highs")
    if plan.status != 0:
        raise RuntimeError(f"the transport problem of an edge was not solved: {plan.message}")
    return np.bincount(owner, cost * plan.x, minlength=excess.shape[0])


def _distance(p: int, q: int, near: list[set[int]]) -> int:
    """Between different nodes around one edge: 1, 2 or 3."""
    return 1 if q in near[p] else 3 if near[p].isdisjoint(near[q]) else 2
