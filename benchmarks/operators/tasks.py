"""What the networks are compared on: batches of one-step windows that are a function of (seed, step), and rollouts to score.

`Grid` reads a data set of this package; `Advection` draws exact solutions on triangulations. Both give physical fields and Conditions,
and `Score` the same curves: nRMSE and correlation at every lead, each the mean over trajectories.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from advection import FIELDS, NAMES, FiniteElements, Waves, periodic_mesh
from torch import Tensor

from surrogates.contracts import Conditions, Domain, Step
from surrogates.data import open_dataset
from surrogates.fields import Fields
from surrogates.interchange import domain_of, fields_of, from_xarray
from surrogates.noise import splitmix
from surrogates.normalise import Normaliser
from surrogates.pde import Kolmogorov, KuramotoSivashinsky, Persistence, etdrk2

BATCHES, STATISTICS, START = 1, 2, 3  # keys of draws


@dataclass(frozen=True)
class Case:
    """Initial states, the truth after them and what surrounds it: the rollouts that are scored together."""

    past: Tensor  # (B, 1, C, *X)
    truth: Tensor  # (B, T, C, *X)
    conditions: Conditions


@dataclass(frozen=True)
class Grid:
    """A data set on a box. Training sees the first `train_frames` frames of each trajectory; rollouts of `leads` frames start from
    each of `starts`."""

    dataset: str
    size: str
    train_frames: int
    batch: int
    leads: int
    starts: tuple[int, ...] = (0,)
    solvers: tuple[dict[str, Any], ...] = ()
    parameters: tuple[str, ...] = ()

    @cached_property
    def _train(self) -> Tensor:
        return from_xarray(self._open("train"))[:, : self.train_frames].contiguous()

    def _open(self, split: str) -> Any:
        return open_dataset(self.dataset, split, size=self.size)

    @cached_property
    def _about(self) -> tuple[Fields, Domain, float]:
        data = self._open("train")
        return fields_of(data), domain_of(data), float(data.attrs["dt"])

    @property
    def fields(self) -> Fields:
        return self._about[0]

    @property
    def domain(self) -> Domain:
        return self._about[1]

    @property
    def dt(self) -> float:
        return self._about[2]

    def normaliser(self) -> Normaliser:
        return moments(self._train.flatten(0, 1), self._train.diff(dim=1).flatten(0, 1))

    def training(self, seed: int, step: int, bundle: int) -> tuple[Tensor, Tensor, Conditions]:
        """`batch` windows of one past frame and `bundle` future ones."""
        g = torch.Generator().manual_seed(splitmix(seed, BATCHES, step))
        u = self._train
        row = torch.randint(len(u), (self.batch,), generator=g)
        start = torch.randint(u.shape[1] - bundle, (self.batch,), generator=g)
        window = u[row[:, None], start[:, None] + torch.arange(bundle + 1)]
        names, values = self._trained
        return window[:, :1], window[:, 1:], self._conditions(names, values[row])

    def cases(self, split: str) -> Iterator[Case]:
        u = from_xarray(self._open(split))
        windows = torch.cat([u[:, s : s + self.leads + 1] for s in self.starts])
        names, values = self.coefficients(split)
        yield Case(windows[:, :1], windows[:, 1:], self._conditions(names, values.repeat(len(self.starts), 1)))

    def baselines(self) -> dict[str, Step]:
        known = {"ks": KuramotoSivashinsky, "kolmogorov": Kolmogorov}
        made: dict[str, Step] = {"persistence": Persistence(self.fields)}
        for entry in self.solvers:
            options = {k: v for k, v in entry.items() if k not in ("equation", "scheme")}
            scheme = {"scheme": etdrk2} if entry.get("scheme") == "etdrk2" else {}
            label = f"solver {'x'.join(map(str, entry['resolution']))}, dt {entry['max_dt']:.3g}"
            made[label] = known[entry["equation"]](**options, **scheme)
        return made

    def coefficients(self, split: str) -> tuple[tuple[str, ...], Tensor]:
        """The parameters of the equation and their values, one row a trajectory."""
        data = self._open(split)
        names = tuple(str(n) for n, c in data.coords.items() if c.attrs.get("role") == "parameter")
        columns = [torch.as_tensor(data[n].values, dtype=torch.float64) for n in names]
        return names, torch.stack(columns, 1) if columns else torch.zeros(data.sizes["trajectory"], 0, dtype=torch.float64)

    @cached_property
    def _trained(self) -> tuple[tuple[str, ...], Tensor]:
        return self.coefficients("train")

    def conditioned(self) -> Tensor:
        """What the networks are told of the training trajectories, one row each."""
        names, values = self._trained
        return values[:, [names.index(n) for n in self.parameters]]

    def _conditions(self, names: tuple[str, ...], values: Tensor) -> Conditions:
        one = torch.ones(len(values), dtype=torch.float64)
        return Conditions(self.domain, 0 * one, self.dt * one, values, names)


@dataclass(frozen=True)
class Advection:
    """Exact solutions on `meshes` training triangulations of `nodes` nodes; scored on others, and on finer ones in `test_nodes`."""

    nodes: int
    meshes: int
    batch: int
    leads: int
    dt: float
    viscosity: float
    test_nodes: tuple[int, ...]
    rows: int = 8
    substeps: tuple[int, ...] = (1, 4)
    parameters: tuple[str, ...] = NAMES

    fields = FIELDS

    @property
    def domain(self) -> Domain:
        return periodic_mesh(self.nodes, 0)

    def normaliser(self) -> Normaliser:
        past, future, _ = self._draw(periodic_mesh(self.nodes, 0), splitmix(0, STATISTICS), 256, 1)
        return moments(past[:, 0], (future - past)[:, 0])

    def conditioned(self) -> Tensor:
        """Velocities as they are drawn."""
        return Waves.draw(256, splitmix(0, STATISTICS), self.viscosity).velocity

    def training(self, seed: int, step: int, bundle: int) -> tuple[Tensor, Tensor, Conditions]:
        """`batch` solutions on one of the training meshes, at times spread over the rollouts that are scored."""
        key = splitmix(seed, BATCHES, step)
        return self._draw(periodic_mesh(self.nodes, key % self.meshes), key, self.batch, bundle)

    def cases(self, split: str) -> Iterator[Case]:
        first = {"valid": 1000, "test": 2000}[split]
        for i, nodes in enumerate(self.test_nodes if split == "test" else (self.nodes,)):
            mesh = periodic_mesh(nodes, first + i)
            waves = Waves.draw(self.rows, splitmix(first + i, STATISTICS), self.viscosity)
            time = self.dt * torch.arange(self.leads + 1, dtype=torch.float64).expand(self.rows, -1)
            u = waves.at(mesh.points, time)
            yield Case(u[:, :1], u[:, 1:], self._conditions(mesh, waves))

    def baselines(self) -> dict[str, Step]:
        made: dict[str, Step] = {"persistence": Persistence(self.fields)}
        return made | {f"finite elements, {n} substeps": FiniteElements(self.viscosity, n) for n in self.substeps}

    def _draw(self, mesh: Any, seed: int, rows: int, bundle: int) -> tuple[Tensor, Tensor, Conditions]:
        waves = Waves.draw(rows, seed, self.viscosity)
        start = (
            self.leads * self.dt * torch.rand(rows, 1, generator=torch.Generator().manual_seed(splitmix(seed, START)), dtype=torch.float64)
        )
        u = waves.at(mesh.points, start + self.dt * torch.arange(bundle + 1))
        return u[:, :1], u[:, 1:], self._conditions(mesh, waves)

    def _conditions(self, mesh: Any, waves: Waves) -> Conditions:
        one = torch.ones(len(waves.velocity), dtype=torch.float64)
        return Conditions(mesh, 0 * one, self.dt * one, waves.velocity, NAMES)


Task = Grid | Advection


def moments(states: Tensor, tendencies: Tensor) -> Normaliser:
    """The normaliser of (B, C, *X) states and increments."""
    values = []
    for u in (states, tendencies):
        v = u.double().movedim(1, 0).flatten(1)
        values += [v.mean(1), v.std(1, correction=0)]
    return Normaliser(*values, dim=states.ndim - 2)


def task_of(entry: dict[str, Any]) -> Task:
    """The task that a suite's `data` describes."""
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in entry.items()}
    return Grid(**values) if "dataset" in values else Advection(**values)
