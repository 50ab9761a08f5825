"""Guesses for windows that they were not fitted to.

A refiner learns the residual r = truth - guess. On trajectories that the guess was trained on, r is smaller than it will be on new ones,
and an ensemble built from it is too narrow. Cross-fitting takes each window's guess from an operator that never saw its trajectory:
with trajectories in n folds and operators trained on fold k each, a window of fold j is guessed by one with k != j.
Source: Chernozhukov et al., "Double/debiased machine learning", The Econometrics Journal 21, 2018, section 3 (cross-fitting).
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from surrogates.contracts import Domain
from surrogates.data.module import DataModule
from surrogates.saved import load_surrogate, read_config
from surrogates.surrogate import Surrogate
from surrogates.train.build import check_fit


class Assigned(nn.Module):
    """An operator whose row b is computed by operators[which[b]]."""

    def __init__(self, operators: Sequence[nn.Module], which: Int64[Tensor, " B"]) -> None:
        super().__init__()
        self.operators, self.which = tuple(operators), which  # a tuple: they are lent, not owned

    def forward(
        self, x: Float[Tensor, "B Cin *X"], domain: Domain, embedding: Float[Tensor, "G E"] | None = None
    ) -> Float[Tensor, "B Cout *X"]:
        parts, rows = [], []
        for k, operator in enumerate(self.operators):
            mine = (self.which == k).nonzero()[:, 0]
            if len(mine):
                parts.append(operator(x[mine], domain, None if embedding is None else embedding[mine]))
                rows.append(mine)
        return torch.cat(parts)[torch.cat(rows).argsort()]


class CrossFitted(nn.Module):
    """The operators of surrogates trained on folds, and who guesses for which trajectory."""

    def __init__(self, operators: Sequence[nn.Module], folds: Sequence[tuple[int, int]]) -> None:
        """`folds` (k, n) say that an operator saw the trajectories i with i mod n = k. Raises ValueError where some have no stranger."""
        super().__init__()
        self.operators = nn.ModuleList(operators).requires_grad_(False).eval()
        counts = {n for _, n in folds}
        if len(counts) != 1 or len({k for k, _ in folds}) < 2:
            raise ValueError(f"cross-fitted guesses need operators of different folds of one partition, got (fold, folds) = {list(folds)}")
        self.count = counts.pop()
        seen = [k for k, _ in folds]
        self.register_buffer(
            "who", torch.tensor([next(i for i, k in enumerate(seen) if k != j) for j in range(self.count)]), persistent=False
        )

    who: Tensor

    def of(self, trajectories: Int64[Tensor, " B"]) -> Assigned:
        """The guess for rows of these trajectories."""
        return Assigned(list(self.operators), self.who[trajectories.to(self.who.device) % self.count])


def cross_fitted(folders: Sequence[str | os.PathLike[str]], surrogate: Surrogate, data: DataModule) -> CrossFitted:
    """From saved surrogates that were each trained on a fold. Raises ValueError where one was not, or has other statistics."""
    operators, folds = [], []
    for folder in folders:
        other = load_surrogate(folder)
        check_fit(other, data, surrogate.bundle, str(folder))
        fold = read_config_fold(folder)
        one, another = other.normaliser, surrogate.normaliser
        same = one.scaling == another.scaling and all(torch.allclose(a, b) for a, b in zip(one.buffers(), another.buffers(), strict=True))
        if not same or other.parameters_used != surrogate.parameters_used or type(other.target) is not type(surrogate.target):
            raise ValueError(
                f"{folder} was trained with other statistics, target or parameters than the guess; train both on the same data set"
            )
        assert other.operator is not None
        operators.append(other.operator)
        folds.append(fold)
    return CrossFitted(operators, folds)


def read_config_fold(folder: str | os.PathLike[str]) -> tuple[int, int]:
    """The fold (k, n) that a saved surrogate was trained on. Raises ValueError where it saw every trajectory."""
    from pathlib import Path

    fold = read_config(Path(folder))["provenance"].get("fold")
    if not fold:
        raise ValueError(f"{folder} saw all training trajectories; train it with `data: {{fold: [0, 2]}}` to use it for cross-fitting")
    return int(fold[0]), int(fold[1])
