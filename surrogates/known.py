"""What a surrogate is told beside the state: static fields, and forcings known ahead at both ends of the bundle, as context channels.

    k = [ (s - m_s)/d_s,   (f(t) - m_f)/d_f,   (f(t + T dt) - m_f)/d_f ],       T frames a bundle

s comes from `Conditions.static` and f from `Conditions.forcing`, both in physical units. Means and deviations are per channel, over the
training split alone; a channel that does not vary there has d = 1, and comes in as its distance from what was seen in training.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from surrogates.contracts import Conditions
from surrogates.fields import Fields
from surrogates.normalise import Moments


class Known(nn.Module):
    """The normalised context of `static` and `forcings`. Raises ValueError, when called, for conditions without them, or with others."""

    static_mean: Tensor
    static_std: Tensor
    forcing_mean: Tensor
    forcing_std: Tensor

    def __init__(self, static: Fields | None, forcings: Fields | None, dim: int) -> None:
        super().__init__()
        self.static, self.forcings = static, forcings
        for kind, fields in (("static", static), ("forcing", forcings)):
            shape = (fields.count if fields else 0, *(1,) * dim)
            self.register_buffer(f"{kind}_mean", torch.zeros(shape))
            self.register_buffer(f"{kind}_std", torch.ones(shape))

    @property
    def channels(self) -> int:
        """How many context channels it makes."""
        return known_channels(self.static, self.forcings)

    def forward(self, conditions: Conditions, bundle: int, like: Float[Tensor, "B C *X"]) -> Float[Tensor, "B K *X"]:
        parts = []
        if self.static is not None:
            parts.append((_checked(conditions.static, self.static, like, "static") - self.static_mean) / self.static_std)
        if self.forcings is not None:
            if conditions.forcing is None:
                raise ValueError(_missing("forcing", self.forcings))
            for t in (conditions.time, conditions.time + bundle * conditions.dt):
                f = _checked(conditions.forcing(t), self.forcings, like, "forcing")
                parts.append((f - self.forcing_mean) / self.forcing_std)
        return torch.cat(parts, 1).to(like.dtype)

    def fit(self, static: Iterable[Float[Tensor, "_ Cs *X"]], forcing: Iterable[Float[Tensor, "_ Cf *X"]]) -> None:
        """Means and deviations from the static fields and the forcings of the training split, in pieces of any number of rows."""
        for kind, values in (("static", static), ("forcing", forcing)):
            moments = Moments.none()
            for u in values:
                moments = moments + Moments.of(u)
            if moments.empty:
                continue
            if not bool(moments.mean.isfinite().all() and moments.std.isfinite().all()):
                raise ValueError(f"the {kind} fields of the training split hold values that are not finite; fill them")
            mean, std = getattr(self, f"{kind}_mean"), getattr(self, f"{kind}_std")
            mean.copy_(moments.mean.reshape(mean.shape))
            constant = moments.std <= 1e-7 * moments.mean.abs().clamp_min(1e-30)
            std.copy_(torch.where(constant, 1.0, moments.std).reshape(std.shape))


def known_channels(static: Fields | None, forcings: Fields | None) -> int:
    """How many context channels they make."""
    return (static.count if static else 0) + 2 * (forcings.count if forcings else 0)


def _checked(values: Tensor | None, fields: Fields, like: Tensor, kind: str) -> Float[Tensor, "B C *X"]:
    """The values, a row each, on the grid and the device of the state."""
    if values is None:
        raise ValueError(_missing(kind, fields))
    grid = tuple(like.shape[2:])
    if values.ndim != like.ndim or values.shape[1] != fields.count or tuple(values.shape[2:]) not in (grid, (1,) * len(grid)):
        raise ValueError(
            f"the {kind} fields have shape {tuple(values.shape)} but this surrogate takes (B, {fields.count}, {', '.join(map(str, grid))}) "
            f"of {fields.channels}"
        )
    return values.to(like.device, like.dtype).expand(len(like), fields.count, *grid)


def _missing(kind: str, fields: Fields) -> str:
    return (
        f"this surrogate takes the {kind} fields {fields.channels} but the conditions have none; "
        f"pass surroundings=Given({kind}=...) to simulate, or conditions with {kind}="
    )
