"""Advection and diffusion of a scalar on periodic triangulations of the unit square, where the exact solution is known at every node:

    u_t + c . grad u = nu lap u,      u(x, t) = sum_k a_k exp(-nu |k|^2 t) cos(k . (x - c t) + phi_k),      k = 2 pi (m, n), |m|, |n| <= 3

Every draw (mesh, waves, velocity, time) is a function of (seed, index), so all networks see the same data in the same order, and there
is no discretisation error in it. The classical baseline is P1 finite elements with Crank-Nicolson on the same mesh.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from jaxtyping import Float
from scipy.sparse import coo_matrix, csc_matrix
from scipy.sparse.linalg import splu
from scipy.spatial import Delaunay
from torch import Tensor

from surrogates.contracts import Conditions, Noise, State
from surrogates.domains import Mesh
from surrogates.fields import Field, Fields
from surrogates.noise import splitmix

FIELDS = Fields.of(Field("u"))
NAMES = ("velocity_x", "velocity_y")
HIGHEST = 3


@lru_cache(maxsize=64)
def periodic_mesh(nodes: int, seed: int) -> Mesh:
    """A Delaunay triangulation of jittered points on the unit torus."""
    side = max(3, round(nodes**0.5))
    rng = np.random.default_rng(splitmix(seed, 1))
    corner = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"), -1).reshape(-1, 2)
    points = ((corner + 0.5 + 0.8 * (rng.random(corner.shape) - 0.5)) / side) % 1.0
    shifts = np.array([(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)])
    copies = (points[None] + shifts[:, None]).reshape(-1, 2)
    triangles = Delaunay(copies).simplices
    centre = copies[triangles].mean(1)
    inside = ((centre >= 0) & (centre < 1)).all(1)
    cells = np.unique(np.sort(triangles[inside] % len(points), 1), axis=0)
    return Mesh.from_cells(torch.from_numpy(points), torch.from_numpy(cells.astype(np.int64)), periods=(1.0, 1.0))


@dataclass(frozen=True)
class Waves:
    """One solution a row: amplitudes and phases (B, K), velocities (B, 2)."""

    amplitude: Float[Tensor, "B K"]
    phase: Float[Tensor, "B K"]
    velocity: Float[Tensor, "B 2"]
    viscosity: float

    @cached_property
    def k(self) -> Float[Tensor, "K 2"]:
        return wavenumbers()

    @classmethod
    def draw(cls, rows: int, seed: int, viscosity: float) -> Waves:
        g = torch.Generator().manual_seed(seed)
        k = wavenumbers()
        size = torch.randn(rows, len(k), generator=g, dtype=torch.float64) / (1 + k.norm(dim=1) / (2 * torch.pi))
        size = size / size.square().sum(1, keepdim=True).sqrt() * 2**0.5  # rms 1 at t = 0
        phase = 2 * torch.pi * torch.rand(rows, len(k), generator=g, dtype=torch.float64)
        angle = 2 * torch.pi * torch.rand(rows, generator=g, dtype=torch.float64)
        speed = 0.5 + 0.5 * torch.rand(rows, generator=g, dtype=torch.float64)
        return cls(size, phase, speed[:, None] * torch.stack([angle.cos(), angle.sin()], 1), viscosity)

    def at(self, points: Float[Tensor, "node 2"], time: Float[Tensor, "B T"]) -> Float[Tensor, "B T 1 node"]:
        """The exact solution, float32."""
        k = self.k
        turn = (points @ k.T)[None, None] - ((self.velocity @ k.T)[:, None] * time[..., None])[:, :, None] + self.phase[:, None, None]
        decay = self.amplitude[:, None] * torch.exp(-self.viscosity * k.square().sum(1) * time[..., None])
        return (turn.cos() * decay[:, :, None]).sum(-1)[:, :, None].float()


def wavenumbers() -> Float[Tensor, "K 2"]:
    """Half of the waves up to HIGHEST, without zero: k and -k are the same cosine."""
    n = torch.arange(-HIGHEST, HIGHEST + 1)
    k = torch.cartesian_prod(n, n)
    half = (k[:, 0] > 0) | ((k[:, 0] == 0) & (k[:, 1] > 0))
    return 2 * torch.pi * k[half].double()


class FiniteElements:
    """A Step: M du/dt = -(A + nu K) u, u linear on triangles, Crank-Nicolson with `substeps` a frame; one factorisation a velocity."""

    inputs = outputs = FIELDS
    history = bundle = 1

    def __init__(self, viscosity: float, substeps: int = 1) -> None:
        self.viscosity, self.substeps = viscosity, substeps
        self._solvers: dict[tuple[Mesh, float, float, float], object] = {}

    def begin(self, past: Float[Tensor, "B 1 1 node"], conditions: Conditions) -> State:
        return {"past": past}

    def __call__(self, state: State, conditions: Conditions, noise: Noise | None = None) -> tuple[Tensor, State]:
        rows = []
        for u, (cx, cy), dt in zip(state["past"][:, 0, 0], conditions.parameters.tolist(), conditions.dt.tolist(), strict=True):
            solve, explicit = self._matrices(conditions.domain, cx, cy, dt / self.substeps)
            values = u.double().numpy()
            for _ in range(self.substeps):
                values = solve(explicit @ values)
            rows.append(torch.from_numpy(values).float())
        future = torch.stack(rows)[:, None, None]
        return future, {"past": future}

    def _matrices(self, mesh: Mesh, cx: float, cy: float, dt: float):
        key = (mesh, cx, cy, dt)
        if key not in self._solvers:
            mass, stiffness, (ax, ay) = assemble(mesh)
            rate = cx * ax + cy * ay + self.viscosity * stiffness
            self._solvers[key] = (splu(csc_matrix(mass + dt / 2 * rate)).solve, (mass - dt / 2 * rate).tocsr())
        return self._solvers[key]


@lru_cache(maxsize=16)
def assemble(mesh: Mesh) -> tuple[csc_matrix, csc_matrix, tuple[csc_matrix, csc_matrix]]:
    """Mass, stiffness and the two advection matrices of linear elements, corners taken at their nearest images."""
    cells, x = mesh.cells.numpy(), mesh.points.numpy()
    edge = x[cells[:, 1:]] - x[cells[:, :1]]
    edge -= np.round(edge)  # periods 1
    area = np.abs(np.linalg.det(edge)) / 2
    inner = np.linalg.inv(edge).transpose(0, 2, 1)  # gradients of corners 1, 2: rows
    gradient = np.concatenate([-inner.sum(1, keepdims=True), inner], 1)
    mass = area[:, None, None] / 12 * (np.ones((3, 3)) + np.eye(3))
    stiffness = area[:, None, None] * np.einsum("cid,cjd->cij", gradient, gradient)
    advection = [area[:, None, None] / 3 * np.broadcast_to(gradient[:, None, :, d], mass.shape) for d in range(2)]
    i, j = np.broadcast_to(cells[:, :, None], mass.shape).ravel(), np.broadcast_to(cells[:, None], mass.shape).ravel()
    n = len(x)
    sparse = [coo_matrix((m.ravel(), (i, j)), (n, n)).tocsc() for m in (mass, stiffness, *advection)]
    return sparse[0], sparse[1], (sparse[2], sparse[3])
