"""What every solver asks of its surroundings: the coefficients of its equation a row at a time, a precision, a longest substep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from surrogates.contracts import Conditions

Parameters: TypeAlias = Mapping[str, Tensor]  # float64, (B,) or (1,)
Constant: TypeAlias = float | int | None


class Coefficients:
    """Coefficients by name: read from `conditions.parameter(name)`, those that conditions lack from `constants`."""

    def __init__(self, parameters: Mapping[str, Constant]) -> None:
        self.constants = dict(parameters)

    def parameters(self, conditions: Conditions) -> Parameters:
        """Every coefficient, float64, one a row. Raises KeyError for one given nowhere, ValueError for a negative or non-finite one."""
        out = {}
        for name, constant in self.constants.items():
            if name in conditions.names:
                value = conditions.parameter(name).double()
            elif constant is not None:
                value = torch.full((1,), constant, dtype=torch.float64, device=conditions.parameters.device)
            else:
                raise KeyError(
                    f"{type(self).__name__} needs {name!r}: the conditions name {conditions.names}; "
                    f"pass it with the initial state, or as {type(self).__name__}({name}=...)"
                )
            bad = ~(value >= 0) | value.isinf()
            if bad.any():
                raise ValueError(f"{name} must be finite and >= 0, got {value[bad].tolist()} in rows {bad.nonzero().flatten().tolist()}")
            out[name] = value
        return out


def precision(dtype: torch.dtype | str | None) -> torch.dtype | None:
    """A floating type by its name, None for that of the data. Raises ValueError for any other."""
    found = {"float32": torch.float32, "float64": torch.float64}.get(dtype) if isinstance(dtype, str) else dtype
    if found not in (None, torch.float32, torch.float64) or (found is None) != (dtype is None):
        raise ValueError(f"dtype must be 'float32', 'float64' or None, got {dtype!r}")
    return found


def longest(max_dt: float) -> float:
    """A longest substep. Raises ValueError unless it is positive."""
    if not max_dt > 0:
        raise ValueError(f"max_dt must be positive, got {max_dt}")
    return float(max_dt)


def fewest(dt: Float[Tensor, " B"], max_dt: float) -> Int64[Tensor, " B"]:
    """How many equal substeps no longer than max_dt frames of length dt take."""
    return torch.ceil(dt / max_dt * (1 - 1e-12)).long()  # 2.1/.7 is a little more than 3 in floating point
