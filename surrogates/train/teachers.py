"""A student learns in the coordinates of its teacher: what is generated, its statistics, and the guess it is a residual of are shared.

A refiner that was trained in one surrogate means nothing in another with other means and deviations, another target, another history or
another guess: its samples would be taken for truth in units that they do not have. So the two surrogates are compared before anything runs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from surrogates.record import describe
from surrogates.saved import load_surrogate
from surrogates.surrogate import Surrogate, alike, unlike
from surrogates.train.part import Trained


def taught_by(refiner: Any) -> list[str]:
    """The folders of the trained surrogates whose refiners a refiner's configuration names."""
    return [v.folder for v in getattr(refiner, "arguments", {}).values() if isinstance(v, Trained)]


def check_teacher(folder: str, student: Surrogate) -> None:
    """Raise ValueError where the surrogate in `folder` generates something else than `student` does, or in other units."""
    teacher = load_surrogate(folder)
    differing = unlike(teacher, student) or ([] if alike(student.domain, teacher.domain) else ["domain"])
    for name in differing:
        have, want = getattr(teacher, name), getattr(student, name)
        raise ValueError(f"the teacher {folder} has {name}={have} but its student has {name}={want}; train both alike")
    if describe(teacher.target) != describe(student.target):
        raise ValueError(
            f"the teacher {folder} generates {type(teacher.target).__name__} but its student {type(student.target).__name__}; "
            f"write `target: {type(teacher.target).__name__}`"
        )
    scaled = teacher.normaliser.scaling == student.normaliser.scaling
    if (
        not scaled
        or not _same(teacher.normaliser.state_dict(), student.normaliser.state_dict())
        or not _same(_conditions(teacher), _conditions(student))
    ):
        raise ValueError(f"the teacher {folder} was trained with other statistics than its student; train both on the same data")
    if not _same(_weights(teacher.operator), _weights(student.operator)):
        raise ValueError(
            f"the teacher {folder} generates the residual of {_said(teacher.operator)} and its student that of {_said(student.operator)}; "
            "give both the same `guess`, or none"
        )


def _conditions(surrogate: Surrogate) -> dict[str, torch.Tensor]:
    """Statistics of what it is conditioned on: parameters, static fields and forcings."""
    known = {} if surrogate.known is None else surrogate.known.state_dict()
    return {"mean": surrogate.parameter_mean, "std": surrogate.parameter_std, **known}


def _weights(operator: nn.Module | None) -> dict[str, torch.Tensor]:
    return {} if operator is None else operator.state_dict()


def _same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(v.shape == b[k].shape and torch.allclose(v, b[k], rtol=1e-5, atol=0) for k, v in a.items())


def _said(operator: nn.Module | None) -> str:
    return "no guess" if operator is None else f"a guess ({type(operator).__name__})"
