"""When a member has blown up: what a state may not do and still be called a forecast.

    not finite     a value is NaN or infinite
    amplitude      rms(u) > amplitude rms(u_0)                  a field's own rms, over its channels and space
    minimum, maximum      a value of a field beyond its bound
    budgets        |int u - int u_0| > band int |u_0|                        a field's integral leaves a band around its first
    pile_up        share(u) > max(pile_up share(u_0), share)                 energy at the end of the spectrum

`share(u)` is the part of a channel's variance in the modes above 2/3 of the Nyquist wavenumber along any axis, where a spectrum piles
up that is not resolved. By default the first two alone are judged: turbulence and weather stay within a factor of a few of their own
amplitude, and a diverging network crosses 100 long before float32 overflows. A field that is zero everywhere at the start, as in a run
from rest, has no scale and so no limit of amplitude: give it a `minimum` and a `maximum`, if it is to have one. Where several limits are
crossed at once, the first above is the reason. All of it is sums and comparisons over the whole block: nothing waits for the device.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from surrogates.contracts import Domain
from surrogates.domains import Box
from surrogates.fields import Fields
from surrogates.record import recorded

LIMIT = 100.0


@recorded
@dataclass(frozen=True)
class Limits:
    """What a member may not do. `minimum`, `maximum` (in a field's units) and `budgets` (bands, shares) go by the names of fields.

    Raises ValueError for numbers that no state could hold.
    """

    amplitude: float | None = LIMIT
    minimum: Mapping[str, float] = field(default_factory=dict)
    maximum: Mapping[str, float] = field(default_factory=dict)
    budgets: Mapping[str, float] = field(default_factory=dict)
    pile_up: float | None = None
    share: float = 1e-3

    def __post_init__(self) -> None:
        if (self.amplitude is not None and self.amplitude <= 1) or min(self.budgets.values(), default=1.0) <= 0:
            raise ValueError(f"amplitude must be above 1 and bands above 0, got {self.amplitude} and {dict(self.budgets)}")
        if (self.pile_up is not None and self.pile_up < 0) or not 0 < self.share < 1:
            raise ValueError(f"pile_up must not be negative and share lie between 0 and 1, got {self.pile_up} and {self.share}")
        for name in self.minimum.keys() & self.maximum.keys():
            if self.minimum[name] >= self.maximum[name]:
                raise ValueError(f"{name} can hold nothing between minimum {self.minimum[name]} and maximum {self.maximum[name]}")

    @property
    def reasons(self) -> tuple[str, ...]:
        """What the codes of `judge` mean, in order; 0 is "none"."""
        amplitude = () if self.amplitude is None else (f"amplitude beyond {self.amplitude:g} times the initial",)
        bounds = [f"{n} below {v:g}" for n, v in self.minimum.items()] + [f"{n} above {v:g}" for n, v in self.maximum.items()]
        budgets = [f"budget of {n} off by more than {v:g}" for n, v in self.budgets.items()]
        pile_up = () if self.pile_up is None else ("spectrum piles up",)
        return ("none", "not finite", *amplitude, *bounds, *budgets, *pile_up)

    def check(self, fields: Fields, domain: Domain) -> None:
        """Raises KeyError for a field that there is not, and ValueError for spectra on a domain without any."""
        for name in (*self.minimum, *self.maximum, *self.budgets):
            fields[name]
        if self.pile_up is not None and not (isinstance(domain, Box) and domain.all_periodic):
            raise ValueError(f"pile_up reads Fourier modes of a periodic Box, the domain is {domain}; leave it out")

    def judge(
        self, frames: Float[Tensor, "B T C *X"], start: Float[Tensor, "B C *X"], fields: Fields, domain: Domain
    ) -> tuple[Int[Tensor, " B"], Int[Tensor, " B"]]:
        """The first bad frame of each row (T where none) and its reason's code; `start` is the initial frame, all on one device."""
        bad = torch.stack(self._crossed(frames, start, fields, domain))  # K B T
        any_, code = bad.any(0), bad.int().argmax(0) + 1
        first = torch.where(any_.any(1), any_.int().argmax(1), frames.shape[1])
        at = first.clamp(max=frames.shape[1] - 1)[:, None]
        return first, torch.where(any_.gather(1, at), code.gather(1, at), 0)[:, 0]

    def _crossed(self, frames: Tensor, start: Tensor, fields: Fields, domain: Domain) -> list[Bool[Tensor, "B T"]]:
        """One an entry of `reasons`, "none" aside."""
        out = [~frames.isfinite().flatten(2).all(2)]
        if self.amplitude is not None:
            over = torch.zeros_like(out[0])
            for name in fields.names:
                now, first = (u[:, :, fields.slice(name)].double().flatten(2).square().mean(2).sqrt() for u in (frames, start[:, None]))
                over |= (now > self.amplitude * first) & (first > 0)
            out.append(over)
        out += [(frames[:, :, fields.slice(n)] < v).flatten(2).any(2) for n, v in self.minimum.items()]
        out += [(frames[:, :, fields.slice(n)] > v).flatten(2).any(2) for n, v in self.maximum.items()]
        for name, band in self.budgets.items():
            where, (rows, leads) = fields.slice(name), frames.shape[:2]
            now = domain.integral(frames[:, :, where].flatten(0, 1)).reshape(rows, leads, -1)
            first, scale = domain.integral(start[:, where]), domain.integral(start[:, where].abs())
            out.append(((now - first.reshape(rows, 1, -1)).abs() > band * scale.reshape(rows, 1, -1)).any(2))
        if self.pile_up is not None:
            allowed = (self.pile_up * tail(start[:, None], domain)).clamp_min(self.share)
            out.append((tail(frames, domain) > allowed).any(2))
        return out


def tail(frames: Float[Tensor, "B T C *X"], domain: Domain) -> Float[Tensor, "B T C"]:
    """The share of each channel's variance above 2/3 of the Nyquist wavenumber along any axis of a periodic Box; 0 where it has none."""
    assert isinstance(domain, Box)
    high, every = _weights(domain, frames.device)
    power = torch.fft.rfftn(frames.double(), dim=tuple(range(3, frames.ndim)), norm="forward").abs().square().flatten(3)
    total = power @ every
    return torch.where(total > 0, power @ high / total, 0.0)


@lru_cache(maxsize=16)
@torch.inference_mode(False)
def _weights(box: Box, device: torch.device) -> tuple[Float[Tensor, " K"], Float[Tensor, " K"]]:
    """Of every mode of the rfftn layout in the variance, and the same for the high ones alone; the mean counts in neither."""
    far = torch.zeros(())
    for k, h in zip(box.wavenumbers(), box.spacing, strict=True):
        far = torch.maximum(far, k.abs() * h / torch.pi)  # 1 at the Nyquist wavenumber
    weight = torch.full_like(far, 2.0)
    n = box.shape[-1]
    weight[..., 0] = 1
    if n % 2 == 0:
        weight[..., -1] = 1
    weight[(0,) * far.ndim] = 0
    return (weight * (far > 2 / 3)).flatten().to(device), weight.flatten().to(device)
