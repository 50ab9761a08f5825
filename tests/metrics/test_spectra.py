"""Spectra, divergence and budgets: Parseval, single modes, any aspect ratio, and agreement with the constraint's own measure."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from surrogates.constraints import DivergenceFree
from surrogates.contracts import Conditions
from surrogates.domains import Box
from surrogates.fields import Field, Fields
from surrogates.metrics import (
    Budget,
    DivergenceDefect,
    EnergySpectrum,
    EnstrophySpectrum,
    log_spectral_distance,
    shell_spectrum,
    shell_wavenumbers,
)

ONE = Fields.of(Field("u"))
FLOW = Fields.of(Field("velocity", "1", ("x", "y")))
Values = Callable[..., dict[str, torch.Tensor]]
BOXES = {
    "1d-even": Box.periodic((12,), 3.0),
    "1d-odd": Box.periodic((11,), 3.0),
    "2d": Box.periodic((10, 12), (1.0, 3.0)),
    "2d-odd": Box.periodic((9, 11), (2.0, 2.0)),
    "3d": Box.periodic((6, 8, 7), (1.0, 2.0, 3.0)),
}
boxes = pytest.mark.parametrize("box", BOXES.values(), ids=BOXES.keys())


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@boxes
def test_parseval(box: Box) -> None:
    """Shells of a field that lives in whole shells add up to half its mean square; so do those of white noise but for the corners."""
    u = noise(1, 1, 1, *box.shape)
    limit = shell_wavenumbers(box)[-1] + torch.pi / max(box.lengths)
    norm = sum(q.square() for q in box.wavenumbers()).sqrt()
    dims = tuple(range(3, 3 + box.dim))
    inside = torch.fft.irfftn(torch.fft.rfftn(u, dim=dims) * (norm < limit), s=box.shape, dim=dims)
    torch.testing.assert_close(shell_spectrum(inside, box).sum(), inside.square().mean() / 2)
    assert shell_spectrum(u, box).sum() <= u.square().mean() / 2


@boxes
def test_a_single_mode_fills_its_shell(box: Box) -> None:
    """a cos(k x) along the longest side: a^2 / 4 in shell k / dk; a mean a: a^2 / 2 in shell 0."""
    axis = box.lengths.index(max(box.lengths))
    dk = 2 * torch.pi / box.lengths[axis]
    u = (3 * torch.cos(dk * box.grid()[axis]) + 2)[None, None, None]
    expected = torch.zeros(len(shell_wavenumbers(box)), dtype=torch.float64)
    expected[0], expected[1] = 2, 9 / 4
    torch.testing.assert_close(shell_spectrum(u, box)[0, 0, 0], expected)
    torch.testing.assert_close(shell_wavenumbers(box)[1].item(), dk)


def test_resolution_does_not_change_a_resolved_spectrum() -> None:
    box = Box.periodic((8, 8), (1.0, 2.0))
    u = box.resample(noise(1, 1, 8, 8), (16, 16))
    fine = box.with_shape((16, 16))
    coarse = shell_spectrum(fine.resample(u, (8, 8))[None], box)
    torch.testing.assert_close(shell_spectrum(u[None], fine)[..., : coarse.shape[-1]], coarse)


def test_the_spectrum_is_that_of_members_not_of_their_mean(values: Values) -> None:
    """x and -x have a mean without energy and spectra alike."""
    box, x = Box.periodic((8, 8), 1.0), noise(1, 1, 2, 8, 8)
    found = values(EnergySpectrum(FLOW), torch.stack([x, -x], 1), x, box)
    torch.testing.assert_close(found["energy_spectrum_ratio"], torch.ones_like(found["energy_spectrum_ratio"]))
    assert found["energy_spectrum_distance"].abs().max() < 1e-12


def test_distance_is_in_decades(values: Values) -> None:
    box, x = Box.periodic((8, 8), 1.0), noise(1, 1, 2, 8, 8)
    found = values(EnergySpectrum(FLOW), 10 * x[:, None], x, box)
    torch.testing.assert_close(found["energy_spectrum_distance"], torch.full((1, 1, 1), 2.0).double())


def test_shells_without_energy_do_not_count() -> None:
    truth = torch.tensor([0.0, 1.0, 0.1, 1e-14], dtype=torch.float64)
    spectrum = torch.tensor([5.0, 1.0, 1.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(log_spectral_distance(spectrum, truth), torch.tensor(0.5**0.5, dtype=torch.float64))


def test_enstrophy_of_a_divergence_free_flow_is_k2_times_its_energy(values: Values) -> None:
    box = Box.periodic((16, 16), 2 * torch.pi)
    x, y = box.grid()
    u = torch.stack([torch.cos(3 * y), torch.sin(2 * x)])[None, None]
    energy = values(EnergySpectrum(FLOW), u[:, None], u, box)["energy_spectrum"][0, 0, 0]
    enstrophy = values(EnstrophySpectrum(FLOW), u[:, None], u, box)["enstrophy_spectrum"][0, 0]
    torch.testing.assert_close(enstrophy, shell_wavenumbers(box).square() * energy, rtol=0, atol=1e-14)


def test_walls_have_no_spectrum() -> None:
    with pytest.raises(ValueError, match="periodic on every axis"):
        shell_spectrum(noise(1, 1, 1, 8), Box((8,), (0.0,), (1.0,), ("wall",)))


@pytest.mark.parametrize("shape", [(8, 6), (7, 6), (6, 5, 4)])
def test_divergence_is_what_the_constraint_says_it_is(values: Values, at: Callable[[Box, int], Conditions], shape: tuple[int, ...]) -> None:
    box = Box.periodic(shape, tuple(float(i + 1) for i in range(len(shape))))
    fields = Fields.of(Field("velocity", "1", ("x", "y", "z")[: len(shape)]))
    law, u = DivergenceFree(fields), noise(3, len(shape), *shape)
    empty = torch.zeros(3, 0, dtype=torch.float64)
    found = values(DivergenceDefect(fields), u[:, None, None], u[:, None], box)
    torch.testing.assert_close(found["divergence"], law.defect(u, empty, at(box, 3)))
    torch.testing.assert_close(found["divergence_truth"], found["divergence"])
    held = law(u.float(), empty, at(box, 3))
    assert values(DivergenceDefect(fields), held[:, None, None], u[:, None], box)["divergence"].max() < 1e-6


def test_members_share_one_divergence(values: Values) -> None:
    """Squares are added over members: one that is a gradient beside one that is free of divergence and has three times its slope."""
    box = Box.periodic((8, 8), 2 * torch.pi)
    x, y = box.grid()
    gradient = torch.stack([torch.cos(x), 0 * y])
    free = torch.stack([3**0.5 * torch.cos(y), 0 * y])
    found = values(DivergenceDefect(FLOW), torch.stack([gradient, free])[None, :, None], free[None, None], box)
    torch.testing.assert_close(found["divergence"], torch.tensor([[0.5]]).double())


def test_budgets_by_hand(values: Values) -> None:
    """u = U + a cos kx has mean U and energy (U^2 + a^2 / 2) / 2; members average their energies, not their fields."""
    box = Box.periodic((8,), 1.0)
    wave = torch.cos(2 * torch.pi * box.grid()[0])
    y, other = (3 + 2 * wave)[None, None, None], (1 - 2 * wave)[None, None, None]
    found = values(Budget(ONE), torch.stack([y, other], 1), y, box)
    assert found["mean"].item() == pytest.approx(2) and found["mean_truth"].item() == pytest.approx(3)
    assert found["energy_truth"].item() == pytest.approx(5.5) and found["energy"].item() == pytest.approx((5.5 + 1.5) / 2)
