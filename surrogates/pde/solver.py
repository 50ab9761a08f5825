"""What all solvers have in common: from frames of some fields to the next frame of the same, in a precision of their own."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.domains import Box, Sphere
from surrogates.fields import Fields
from surrogates.pde.coefficients import Coefficients, Constant, Parameters, longest, precision


class Solver(Coefficients, ABC):
    """The part of a `Step` that says what goes in and comes out; `begin` and the call are left to write.

    `max_dt` is the longest substep, `dtype` the precision it works and answers in (None: that of the data).
    """

    fields: ClassVar[Fields]
    history = 1
    bundle = 1

    def __init__(self, max_dt: float, dtype: torch.dtype | str | None, parameters: Mapping[str, Constant]) -> None:
        super().__init__(parameters)
        self.max_dt, self.dtype = longest(max_dt), precision(dtype)

    @property
    def inputs(self) -> Fields:
        return self.fields

    @property
    def outputs(self) -> Fields:
        return self.fields

    def open_ends(self, box: Box) -> tuple[str, ...]:
        """The ends of a Box that something passes: what is inside is not all then. None, unless a solver says so."""
        return ()

    def last(self, past: Float[Tensor, "B H C *X"], domain: object) -> Float[Tensor, "B C *X"]:
        """The last frame, in the solver's precision. Raises ValueError for other channels or another grid."""
        if past.shape[2] != self.fields.count:
            raise ValueError(
                f"past has {past.shape[2]} channels but {type(self).__name__} takes {self.fields.count}: {self.fields.channels}"
            )
        frame = past[:, -1].to(self.dtype or past.dtype)
        assert isinstance(domain, Box | Sphere)
        domain.check(frame)
        return frame


def points(resolution: int | Sequence[int] | None, dim: int) -> tuple[int, ...] | None:
    """Of one number or one an axis; None where a solver takes as many points as the data. Raises ValueError for another count."""
    if resolution is None:
        return None
    each = (resolution,) * dim if isinstance(resolution, int) else tuple(resolution)
    if len(each) != dim:
        raise ValueError(f"resolution {each} needs {dim} entries, or one number for all axes")
    return each


def of_rows(p: Parameters, rows: Tensor) -> Parameters:
    """The coefficients of some rows of a batch; those that hold for all stay."""
    return {name: v if len(v) == 1 else v[rows.to(v.device)] for name, v in p.items()}


def check_dt(dt: Float[Tensor, " B"]) -> None:
    """Raise ValueError unless every frame takes some time."""
    if not bool((dt > 0).all()):
        raise ValueError(f"dt must be positive, got {dt.tolist()}")
