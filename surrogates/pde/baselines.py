"""What a forecast must beat: persistence, u(t) = u(0), and climatology, u(t) = <u>. Both are `Step`s, rolled out and scored alike."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.contracts import Conditions, Noise, State
from surrogates.fields import Fields


class Persistence:
    """The last frame, for ever. State: `frame` (B, C, *X) and `step`."""

    history = 1
    bundle = 1

    def __init__(self, fields: Fields) -> None:
        self.fields = fields

    @property
    def inputs(self) -> Fields:
        return self.fields

    @property
    def outputs(self) -> Fields:
        return self.fields

    def frame(self, past: Float[Tensor, "B H C *X"]) -> Float[Tensor, "B C *X"]:
        """What is said to come."""
        return past[:, -1]

    def begin(self, past: Float[Tensor, "B H C *X"], conditions: Conditions) -> State:
        """Raises ValueError where past has other channels."""
        if past.shape[2] != self.fields.count:
            raise ValueError(f"past has {past.shape[2]} channels but {type(self).__name__} was made for {self.fields.channels}")
        return {"frame": self.frame(past), "step": torch.zeros((), dtype=torch.int64)}

    def __call__(self, state: State, conditions: Conditions, noise: Noise | None = None) -> tuple[Float[Tensor, "B 1 C *X"], State]:
        return state["frame"].unsqueeze(1), {**state, "step": state["step"] + 1}


class Climatology(Persistence):
    """A mean field (C, *X), or a mean per channel (C,), whatever the initial state; take it from the training split only."""

    def __init__(self, fields: Fields, mean: Float[Tensor, "C ..."]) -> None:
        super().__init__(fields)
        if mean.shape[0] != fields.count:
            raise ValueError(f"the mean has {mean.shape[0]} channels but the fields are {fields.channels}")
        self.mean = mean

    def frame(self, past: Float[Tensor, "B H C *X"]) -> Float[Tensor, "B C *X"]:
        """The mean, a row each. Raises ValueError where it is a field on another grid."""
        grid = past.shape[3:]
        if self.mean.ndim > 1 and self.mean.shape[1:] != grid:
            on, wanted = tuple(self.mean.shape[1:]), tuple(grid)
            raise ValueError(f"the mean is a field on {on} but past lies on {wanted}; resample it, or give one value a channel")
        mean = self.mean if self.mean.ndim > 1 else self.mean.reshape(-1, *(1,) * len(grid))
        return mean.to(past.device, past.dtype).expand(past.shape[0], past.shape[2], *grid)
