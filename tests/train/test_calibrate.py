"""Calibration finds the inflation and the coherence of a process that is known, and says so where there is nothing to find.

The truth is u_{n+1} = u_n + sigma z_n with z an AR(1) process in time, corr(z_n, z_m) = rho^|n-m|, on top of a field that correlates;
the surrogate knows all but the size and the memory of its noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import xarray as xr
from torch import Tensor, nn

from surrogates.contracts import Domain, Draws
from surrogates.domains import Box
from surrogates.fields import Field, Fields
from surrogates.interchange import to_xarray
from surrogates.surrogate import Surrogate
from surrogates.train import calibrate
from surrogates.train.calibrate import Search
from surrogates.train.validation import trial

FIELDS, BOX, DT, SIGMA = Fields.of(Field("u")), Box.periodic((256,), 1.0), 0.5, 0.05


class Still(nn.Module):
    """An operator that guesses no change."""

    def forward(self, x: Tensor, domain: Domain, embedding: Tensor | None = None) -> Tensor:
        return torch.zeros_like(x)


class Gaussian(nn.Module):
    """The exact refiner of Gaussian increments: guess + inflation scale e."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.register_buffer("inflation", torch.ones(()))

    def forward(
        self, guess: Tensor | None, context: Tensor, embedding: Tensor | None, domain: Domain, noise: Draws, correct: Any = None
    ) -> Tensor:
        return guess + self.inflation * self.scale * noise(context, draw=0)

    def loss(self, *_: Any) -> Tensor:
        raise NotImplementedError


def truth(rho: float, frames: int = 24, count: int = 12) -> xr.Dataset:
    generator = torch.Generator().manual_seed(5)
    x = BOX.coordinate(0)
    u = torch.stack([torch.cos(2 * math.pi * (k % 3 + 1) * x) for k in range(count)])[:, None, None]
    z, states = torch.randn(count, 1, 256, generator=generator, dtype=torch.float64), [u[:, 0]]
    for _ in range(frames):
        states.append(states[-1] + SIGMA * z)
        z = rho * z + math.sqrt(1 - rho**2) * torch.randn(count, 1, 256, generator=generator, dtype=torch.float64)
    time = [DT * n for n in range(frames + 1)]
    return to_xarray(torch.stack(states, 1).float(), FIELDS, BOX, time=time, trajectories=range(count))


def surrogate(scale: float) -> Surrogate:
    return Surrogate(FIELDS, BOX, DT, operator=Still(), refiner=Gaussian(scale))


@pytest.mark.parametrize(("rho", "scale"), [(0.0, SIGMA), (0.6, SIGMA / 2), (0.75, SIGMA * 2)])
def test_a_known_inflation_and_coherence_are_found(rho: float, scale: float) -> None:
    made = surrogate(scale)
    found = calibrate(made, truth(rho), frames=12, members=8)
    assert found.coherence == pytest.approx(rho, abs=0.16)  # the grid: 0, .3, .6, .75, .9
    assert found.inflation == pytest.approx(SIGMA / scale, rel=0.15)
    assert float(made.coherence) == pytest.approx(found.coherence) and float(made.refiner.inflation) == pytest.approx(found.inflation)  # type: ignore[union-attr,arg-type]
    best = min(found.tried, key=lambda t: t.misfit)
    assert best.misfit < 0.05 and 0.85 < best.first < 1.15 and 0.85 < best.last < 1.15
    assert len(found.tried) <= 10 and found.to_json()["tried"][0]["coherence"] == 0.0


def test_the_search_is_deterministic() -> None:
    assert calibrate(surrogate(0.02), truth(0.6), frames=6, members=4) == calibrate(surrogate(0.02), truth(0.6), frames=6, members=4)


def test_only_leads_that_correlate_count() -> None:
    found = calibrate(surrogate(SIGMA), truth(0.9), frames=24, members=4, coarse=(0.9,))
    assert 2 < found.leads < 24


def test_a_deterministic_surrogate_or_one_member_is_refused() -> None:
    with pytest.raises(ValueError, match="deterministic"):
        calibrate(Surrogate(FIELDS, BOX, DT, operator=Still()), truth(0.0), frames=4)
    with pytest.raises(ValueError, match="at least two"):
        calibrate(surrogate(1.0), truth(0.0), frames=4, members=1)
    with pytest.raises(ValueError, match="have 25 frames but 1 of history and 25 ahead are needed"):
        calibrate(surrogate(1.0), truth(0.0), frames=25)


def test_an_ensemble_without_skill_is_refused() -> None:
    with pytest.raises(ValueError, match="no skill to calibrate a spread against"):
        calibrate(surrogate(100.0), truth(0.0), frames=4, members=2)


def test_a_refiner_that_neither_number_reaches_is_refused() -> None:
    class Fresh(Gaussian):
        """Draws its noise on the way, and has no inflation."""

        def __init__(self) -> None:
            super().__init__(SIGMA)
            self.register_buffer("inflation", None)

        def forward(self, guess, context, embedding, domain, noise, correct=None):  # type: ignore[no-untyped-def]
            return guess + self.scale * noise(context, draw=2)

    with pytest.raises(ValueError, match="a Fresh has no inflation, .*: there is nothing to calibrate"):
        calibrate(Surrogate(FIELDS, BOX, DT, operator=Still(), refiner=Fresh()), truth(0.0), frames=6, members=4)


@pytest.mark.parametrize(
    ("factor", "message"), [(math.nan, "members blow up at the first lead"), (0.0, "its members do not differ in every")]
)
def test_an_ensemble_without_a_finite_misfit_is_not_said_to_ignore_coherence(
    factor: float, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = surrogate(SIGMA)
    made.refiner.inflation = None  # type: ignore[union-attr,assignment]
    monkeypatch.setattr(made.refiner, "forward", lambda guess, context, *_: guess + factor * context)
    with pytest.raises(ValueError, match=message):
        calibrate(made, truth(0.0), frames=6, members=4)


def test_an_ensemble_that_blows_up_later_is_said_to() -> None:
    search = Search(surrogate(SIGMA), trial(truth(0.0), surrogate(SIGMA), 6, 1, None), 6, 4, 0)
    search.leads = 6
    search.surrogate.refiner.scale = math.inf  # type: ignore[union-attr,assignment]
    assert search.evaluate(1.0, 0.0) == [] and search.best.failed == 12 * 4 and search.best.misfit == math.inf
    with pytest.raises(ValueError, match="members blow up in every"):
        search.check()


def test_members_that_blow_up_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    made = surrogate(SIGMA / 4)
    exact: Callable[..., Tensor] = made.refiner.forward  # type: ignore[union-attr,assignment]

    def fragile(*given: Any, **named: Any) -> Tensor:
        out = exact(*given, **named)
        return out * math.nan if float(made.refiner.inflation) > 1 else out  # type: ignore[union-attr,arg-type]

    monkeypatch.setattr(made.refiner, "forward", fragile)
    found = calibrate(made, truth(0.0), frames=6, members=4)
    assert max(t.failed for t in found.tried) == 12 * 4 and found.inflation == 1.0
