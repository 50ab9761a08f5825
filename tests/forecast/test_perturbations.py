"""Laws of perturbed initial states: keyed by trajectory and member alone, of the size asked for, white, lawful, paired, with a control."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from surrogates.constraints import DivergenceFree
from surrogates.contracts import Conditions
from surrogates.domains import Box
from surrogates.fields import Field, Fields
from surrogates.forecast.perturbations import Gaussian, Members, Perturbation, RandomPhases, deviation
from surrogates.noise import SeededNoise
from surrogates.record import construct, describe
from surrogates.refine.colour import Spectral

PLANE = Box.periodic((16, 16), (1.0, 2.0))
WALLED = Box((16, 16), (0.0, 0.0), (1.0, 1.0), ("wall", "periodic"))
FLOW = Fields.of(Field("velocity", "m s-1", components=("x", "y")), Field("T", "K"))


def conditions(rows: int, box: Any = PLANE) -> Conditions:
    ones = torch.ones(rows, dtype=torch.float64)
    return Conditions(box, 0 * ones, ones, torch.zeros(rows, 0))


def past(rows: int, box: Any = PLANE, history: int = 2) -> Tensor:
    u = torch.randn(rows, history, 3, *box.shape, generator=torch.Generator().manual_seed(1))
    return u * torch.tensor([1.0, 2.0, 30.0]).reshape(3, 1, 1) + torch.tensor([0.5, 0.0, 280.0]).reshape(3, 1, 1)


def noise(members: list[int], trajectory: int = 4, seed: int = 0) -> SeededNoise:
    return SeededNoise(seed, [trajectory] * len(members), members)


ALL: dict[str, Perturbation] = {
    "white": Gaussian(0.1),
    "absolute": Gaussian({"velocity": 0.2, "T": 1.5}, FLOW),
    "coloured": Gaussian(0.1, colour=Spectral(0.3)),
    "lawful": Gaussian(0.1, law=DivergenceFree(FLOW)),
    "paired": Gaussian(0.1, members=Members(paired=True)),
    "phases": RandomPhases(0.1),
}


@pytest.mark.parametrize("name", ALL)
def test_a_row_depends_on_its_trajectory_and_member_alone_and_member_0_is_the_control(name: str) -> None:
    perturb, u = ALL[name], past(1).expand(4, -1, -1, -1, -1)
    before = u.clone()
    out = perturb(u, conditions(4), noise([0, 1, 2, 3]))
    assert torch.equal(u, before) and torch.equal(out[0], u[0])
    assert all(not torch.equal(out[m], out[n]) for m in range(4) for n in range(m))
    turned = perturb(u[:2], conditions(2), SeededNoise(0, [9, 4], [1, 3]))
    torch.testing.assert_close(turned[1], out[3], rtol=1e-6, atol=1e-6)
    assert not torch.equal(turned[0], out[1])


@pytest.mark.parametrize("name", ALL)
def test_what_is_recorded_makes_the_same_perturbation(name: str) -> None:
    again = construct(describe(ALL[name]))
    u = past(2)
    assert torch.equal(again(u, conditions(2), noise([1, 2])), ALL[name](u, conditions(2), noise([1, 2])))


def test_size_is_a_share_of_each_channels_own_deviation_or_a_number_in_its_units() -> None:
    u = past(1).expand(65, -1, -1, -1, -1)
    e = (Gaussian(0.1)(u, conditions(65), noise(list(range(65)))) - u)[1:]
    share = e[:, 0].double().square().mean((0, 2, 3)).sqrt() / deviation(u[:1, -1], PLANE)[0, :, 0, 0].double()
    torch.testing.assert_close(share, torch.full_like(share, 0.1), rtol=0.02, atol=0)
    assert float((e[:, 0] - e[:, 1]).abs().max()) < 1e-4  # the same in every frame of the past: tendencies stay
    absolute = (Gaussian({"T": 1.5}, FLOW)(u, conditions(65), noise(list(range(65)))) - u)[1:, 0]
    assert not absolute[:, :2].any()
    assert abs(float(absolute[:, 2].square().mean().sqrt()) - 1.5) < 0.03


def test_pairs_cancel_and_share_the_draw() -> None:
    u = past(1).expand(5, -1, -1, -1, -1)
    e = Gaussian(0.1, members=Members(paired=True))(u, conditions(5), noise([0, 1, 2, 3, 4])) - u
    torch.testing.assert_close(e[1] + e[2], torch.zeros_like(e[1]), rtol=0, atol=1e-4)
    torch.testing.assert_close(e[3] + e[4], torch.zeros_like(e[1]), rtol=0, atol=1e-4)
    assert float((e[1] - e[3]).abs().max()) > 0.1
    without = Members(control=False, paired=True)
    assert [(without.number(m), without.sign(m)) for m in range(4)] == [(1, 1), (1, -1), (2, 1), (2, -1)]


def test_a_law_holds_for_perturbed_members_and_white_noise_breaks_it() -> None:
    law = DivergenceFree(FLOW)
    c = conditions(2)
    lawful = past(2)
    lawful = torch.stack([law(v, law.reference(v, c), c) for v in lawful.unbind(1)], 1)
    free, wild = (p(lawful, c, noise([1, 2])) for p in (ALL["lawful"], ALL["white"]))
    defects = [float(law.defect(p[:, -1], law.reference(p[:, -1], c), c).max()) for p in (free, wild)]
    assert defects[0] < 1e-5 < 1e-2 < defects[1]


def test_random_phases_keep_spectrum_mean_and_divergence() -> None:
    law, c = DivergenceFree(FLOW), conditions(2)
    u = law(past(2)[:, 0].double(), torch.zeros(2, 0, dtype=torch.float64), c)
    e = RandomPhases(0.3)(u[:, None], c, noise([1, 2]))[:, 0] - u
    spectra = [torch.fft.rfft2(v).abs() for v in (e, u)]
    spectra[1][..., 0, 0] = 0
    torch.testing.assert_close(spectra[0], 0.3 * spectra[1], rtol=1e-9, atol=1e-9)
    assert float(law.defect(e, torch.zeros(2, 0, dtype=torch.float64), c).max()) < 1e-12


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Gaussian(-0.1), "must not be negative"),
        (lambda: Gaussian({"T": 1.0}), "need the fields"),
        (lambda: Gaussian({"q": 1.0}, FLOW), "no field 'q'"),
        (lambda: RandomPhases(-1.0), "must not be negative"),
        (lambda: RandomPhases(0.1)(past(1, WALLED), conditions(1, WALLED), noise([1])), "periodic Box"),
    ],
    ids=["negative", "names", "unknown", "phases", "walls"],
)
def test_bad_input_is_named(make: Any, words: str) -> None:
    with pytest.raises((ValueError, KeyError, TypeError), match=words):
        make()
