"""A deep ensemble: K surrogates trained alike from different seeds, as one Step whose member m is forecast by network m mod K.

    u_(m)[t+1] = S_k(u_(m)[t]),    k = m mod K,

each member by one network all the way. What K networks disagree on is what the data do not decide; members of one deterministic network
are the same, so an ensemble of more than K members tells no more than one of K, unless the networks are generative themselves.
Source: Lakshminarayanan, Pritzel and Blundell, "Simple and scalable predictive uncertainty estimation using deep ensembles", 2017,
https://arxiv.org/abs/1612.01474 (here without their variance head: the spread is the networks').

    ensemble = DeepEnsemble([sg.load(f) for f in folders]); sg.save(ensemble, "runs/ensemble"); sg.simulate(ensemble, truth, 200, members=8)

Which member a row is, only `SeededNoise` knows, as `simulate` and the benchmarks hand it to a step. Without noise there are no members,
and the first network forecasts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from surrogates.contracts import Conditions, Constraint, Domain, Noise, State
from surrogates.fields import Fields
from surrogates.noise import SeededNoise
from surrogates.record import recorded
from surrogates.surrogate import MADE_FOR, Surrogate, unlike

ALIKE = (*MADE_FOR, "domain", "constraint")
"""What the networks must agree on, and whether they are generative."""


@recorded
class DeepEnsemble(nn.Module):
    """A Step of K surrogates. Raises ValueError for less than two, and where they differ in more than their weights and networks."""

    def __init__(self, surrogates: Sequence[Surrogate]) -> None:
        super().__init__()
        if len(surrogates) < 2:
            raise ValueError(f"a deep ensemble has two networks at least, got {len(surrogates)}; train others with --seed 1, 2, ...")
        for k, other in enumerate(surrogates[1:], start=1):
            check_alike(surrogates[0], other, k)
        self.surrogates = nn.ModuleList(surrogates)

    @property
    def first(self) -> Surrogate:
        """The network of member 0, and of forecasts without members."""
        first = self.surrogates[0]
        assert isinstance(first, Surrogate)
        return first

    @property
    def inputs(self) -> Fields:
        return self.first.fields

    @property
    def outputs(self) -> Fields:
        return self.first.fields

    @property
    def history(self) -> int:
        return self.first.history

    @property
    def bundle(self) -> int:
        return self.first.bundle

    @property
    def domain(self) -> Domain:
        return self.first.domain

    @property
    def dt(self) -> float:
        return self.first.dt

    @property
    def static(self) -> Fields | None:
        return self.first.static

    @property
    def generative(self) -> bool:
        """Members differ."""
        return True

    @property
    def evaluations(self) -> int:
        """Network evaluations a member and bundle: as many as one surrogate makes."""
        return self.first.evaluations

    @property
    def constraint(self) -> Constraint | None:
        """The law that all of them are under."""
        return self.first.constraint

    def with_constraint(self, constraint: Constraint | None) -> DeepEnsemble:
        """The same networks under another law, or none."""
        made = [cast(Surrogate, s).with_constraint(constraint) for s in self.surrogates]
        return DeepEnsemble(made).train(self.training)

    def begin(self, past: Float[Tensor, "B H C *X"], conditions: Conditions) -> State:
        """As one surrogate begins: all of them would alike."""
        return self.first.begin(past, conditions)

    def forward(self, state: State, conditions: Conditions, noise: Noise | None = None) -> tuple[Float[Tensor, "B T C *X"], State]:
        """Every row by the network of its member. Raises TypeError for noise that does not tell the members of its rows."""
        if noise is None:
            made: tuple[Tensor, State] = self.first(state, conditions, None)
            return made
        if not isinstance(noise, SeededNoise):
            raise TypeError(f"a deep ensemble takes SeededNoise, which tells which member a row is, got a {type(noise).__name__}")
        whose, members = torch.tensor(noise.members) % len(self.surrogates), conditions.domain.members
        parts: list[tuple[Tensor, State]] = []
        order: list[Tensor] = []
        for k, surrogate in enumerate(self.surrogates):
            rows = (whose == k).nonzero()[:, 0]
            if len(rows):
                parts.append(surrogate(_rows(state, rows, members), _surroundings(conditions, rows), _noise_of(noise, rows.tolist())))
                order.append(rows)
        back = torch.cat(order).argsort()
        future = torch.cat([made for made, _ in parts])
        new = {name: _joined([s[name] for _, s in parts], back, members) for name in parts[0][1]}
        return future[back.to(future.device)], new


def check_alike(one: Surrogate, other: Surrogate, number: int) -> None:
    """Raise ValueError where surrogate `number` is not made for the same forecasts as the first."""
    differing = unlike(one, other, ALIKE)
    if (one.refiner is None) != (other.refiner is None):
        differing.append("refiner")
    if differing:
        pairs = ", ".join(f"{n} {_short(one, n)} and {_short(other, n)}" for n in differing)
        raise ValueError(f"networks 0 and {number} of the ensemble differ in {pairs}; train them from one configuration with other seeds")


def _short(surrogate: Surrogate, name: str) -> str:
    value: Any = getattr(surrogate, name)
    return type(value).__name__ if name in ("constraint", "refiner") else str(value)


def _rows(state: State, rows: Tensor, members: int) -> State:
    """The state of some rows, each of so many members of the domain; what has no rows (the step's number) is everyone's."""
    count = len(state["past"])
    return {name: u[_index(rows, len(u) // count, members).to(u.device)] if u.ndim else u for name, u in state.items()}


def _surroundings(conditions: Conditions, rows: Tensor) -> Conditions:
    """The conditions of some rows: static fields have a row each, all else has one a member of the domain."""
    static = None if conditions.static is None else conditions.static[rows.to(conditions.static.device)]
    return replace(replace(conditions, static=None).rows(_index(rows, conditions.domain.members, conditions.domain.members)), static=static)


def _index(rows: Tensor, entries: int, members: int) -> Tensor:
    """Where rows lie in a tensor that has one entry a row, or one a member of the domain: G = B members."""
    return (rows[:, None] * members + torch.arange(members)).flatten() if entries == members else rows


def _joined(parts: list[Tensor], back: Tensor, members: int) -> Tensor:
    if not parts[0].ndim:
        return parts[0]
    whole = torch.cat(parts)
    return whole[_index(back, len(whole) // len(back), members).to(whole.device)]


def _noise_of(noise: SeededNoise, rows: list[int]) -> SeededNoise:
    return replace(noise, trajectories=[noise.trajectories[i] for i in rows], members=[noise.members[i] for i in rows])
