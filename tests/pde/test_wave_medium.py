"""Waves in media: standing waves, an echo, what is kept to rounding, order against a finer run, and what every Step owes."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from math import cos, pi, sin

import pytest
import torch

from surrogates.domains import Box
from surrogates.pde import WaveMedium
from surrogates.record import construct, describe
from tests.laws import step_laws


def room(*shape: int, lengths: tuple[float, ...] = (1.0, 1.0)) -> Box:
    d = len(shape)
    return Box(shape, (0.0,) * d, lengths[:d], ("wall",) * d)


def run(step, u, medium, box, dt, frames, conditions):
    c = replace(conditions(box, len(u), dt), static=medium)
    state, out = step.begin(u[:, None], c), u[:, None]
    for _ in range(frames):
        out, state = step(state, c)
    return out[:, 0]


def random(box: Box, conditions, rows: int = 2, contrast: float = 6.0):
    step = WaveMedium(max_dt=1.0, waves=1.0)
    told = conditions(box, rows, 1.0, contrast=contrast)
    u = step.initial(box, range(rows), 3, peak=1.5)
    return u + 0.3 * u.flip(1), step.draw_static(box, range(rows), 3, conditions=told)


def test_a_standing_wave_to_second_order(conditions) -> None:
    errors = []
    for n in (16, 32, 64):
        box, c, t = room(n, n, lengths=(2.0, 1.0)), 1.3, 0.7
        x, y = box.grid()
        w = c * pi * ((3 / 2) ** 2 + 2**2) ** 0.5
        shape = torch.cos(pi * 3 * x / 2) * torch.cos(pi * 2 * y)
        start = torch.stack([shape, 0 * shape])[None]
        out = run(WaveMedium(max_dt=0.4 / n), start, torch.full((1, 1, n, n), c**2).double(), box, t / 2, 2, conditions)
        errors.append(float((out[0] - torch.stack([cos(w * t) * shape, -w * sin(w * t) * shape])).square().mean().sqrt()) / w)
    assert errors[2] < 4e-3 and all(3.7 < a / b < 4.3 for a, b in pairwise(errors)), errors


@pytest.mark.parametrize(("a", "b"), [(1.0, 2.0), (2.0, 1.0)])
def test_what_comes_back_from_a_jump_and_what_goes_on(a, b, conditions) -> None:
    """d'Alembert's pulse f(t - x/a) meets another speed at x = 1: the share (a - b)/(a + b) comes back, 2 a/(a + b) goes on."""

    def pulse(s):
        return torch.exp(-(((a * s + 0.5) / 0.08) ** 2))

    errors, t = [], 0.9 / a
    for n in (300, 600):
        box = room(n, lengths=(3.0,))
        x = box.coordinate(0)
        start = torch.stack([pulse(-x / a), -2 * a * (0.5 - x) / 0.08**2 * pulse(-x / a)])[None]
        out = run(WaveMedium(max_dt=1.8 / n / max(a, b)), start, torch.where(x < 1, a**2, b**2)[None, None], box, t / 3, 3, conditions)
        before = pulse(t - x / a) + (a - b) / (a + b) * pulse(t - (2 - x) / a)
        behind = 2 * a / (a + b) * pulse(t - 1 / a - (x - 1) / b)
        errors.append(float((out[0, 0] - torch.where(x < 1, before, behind)).abs().max()))
    assert errors[1] < 0.02 and errors[0] / errors[1] > 3.5, errors


def test_what_is_kept_to_rounding(conditions) -> None:
    box, n = room(24, 20), 50
    u, medium = random(box, conditions)
    step = WaveMedium(max_dt=0.01)
    out = run(step, u, medium, box, 0.01 * n, 4, conditions)
    assert float((out - u).abs().max()) > 1
    torch.testing.assert_close(step.energy(out, medium, box, 0.01), step.energy(u, medium, box, 0.01), rtol=1e-12, atol=0)
    torch.testing.assert_close(step.energy(out, medium, box), step.energy(u, medium, box), rtol=2e-2, atol=0)
    mean = box.average(u)
    mean[:, 0] += 4 * 0.01 * n * mean[:, 1]
    torch.testing.assert_close(box.average(out), mean, rtol=0, atol=1e-12)
    turned = out * torch.tensor([1.0, -1.0]).double().reshape(1, 2, 1, 1)
    torch.testing.assert_close(run(step, turned, medium, box, 0.01 * n, 4, conditions)[:, 0], u[:, 0], rtol=0, atol=1e-10)


def test_random_media_to_second_order_of_a_finer_run(conditions) -> None:
    """The same medium on finer cells, which see its jumps: order 2 but for the corners of the cells of the medium."""
    box = room(12, 12)
    _, medium = random(box, conditions)
    finest = room(192, 192)
    u = WaveMedium(max_dt=1.0).initial(finest, [0, 1], 3, peak=1.0)
    ends = []
    for n in (24, 48, 96, 192):
        step, fine = WaveMedium(max_dt=0.2 / n), room(n, n)
        start = step.resample(u, finest, fine)
        out = run(step, start, step.spread_static(medium, box, fine), fine, 0.3, 1, conditions)
        ends.append(step.resample(out, fine, room(24, 24))[:, 0])
    errors = [float((e - ends[-1]).square().mean().sqrt()) for e in ends[:-1]]
    assert errors[2] < 3e-3 and all(a / b > 3 for a, b in pairwise(errors)), errors


def test_the_medium_is_of_the_contrast_and_the_field_the_same_on_any_cells(conditions) -> None:
    step, box = WaveMedium(max_dt=1.0, waves=2.0), room(30, 20)
    medium = step.draw_static(box, [4, 5], 0, conditions=conditions(box, 2, 1.0, contrast=torch.tensor([1.0, 7.0])))
    assert medium.amin((1, 2, 3)).tolist() == [1.0, 1.0] and medium.amax((1, 2, 3)).tolist() == pytest.approx([1.0, 7.0])
    coarse, fine = (step.initial(room(*shape), [4, 5], 0, peak=2.0)[:, :1] for shape in ((30, 20), (90, 60)))
    torch.testing.assert_close(fine[:, :, 1::3, 1::3], coarse, rtol=0, atol=1e-12)  # the same middles
    torch.testing.assert_close(room(90, 60).average(fine.square())[:, 0], torch.ones(2).double(), rtol=0, atol=1e-6)
    assert float(room(90, 60).average(fine).abs().max()) < 1e-12


def test_mirrored_media_have_mirrored_waves(conditions) -> None:
    box, step = room(12, 12), WaveMedium(max_dt=0.02)
    u, medium = random(box, conditions)
    out = run(step, u, medium, box, 0.2, 2, conditions)
    for turn in (lambda f: f.flip(2), lambda f: f.flip(3), lambda f: f.transpose(2, 3)):
        torch.testing.assert_close(run(step, turn(u), turn(medium), box, 0.2, 2, conditions), turn(out), rtol=0, atol=1e-12)


def test_what_every_step_owes(conditions) -> None:
    box, step = room(12, 10), WaveMedium((24, 20), max_dt=0.01, contrast=3.0)
    u, medium = random(box, conditions)
    c = replace(conditions(box, 2, torch.tensor([0.03, 0.05])), static=medium)
    step_laws(step, u[:, None], c, lambda rows: None, rounding=1e-12)
    assert describe(construct(describe(step))) == describe(step)


def test_bad_input_is_told(conditions) -> None:
    box = room(8, 8)
    u, medium = random(box, conditions)
    step = WaveMedium(max_dt=0.5)
    with pytest.raises(ValueError, match="needs a Box between walls in equal cells"):
        step.box(Box.periodic((8, 8), 1.0))
    with pytest.raises(ValueError, match="needs a positive static field speed_squared"):
        step.begin(u[:, None], conditions(box, 2, 0.1))
    with pytest.raises(ValueError, match=r"substeps of 0\.1 are not stable: for speeds up to 2\.4\d+ max_dt must be below 0\.03\d+"):
        run(step, u, medium, box, 0.1, 1, conditions)
    with pytest.raises(ValueError, match="no multiple of the 8 in which the medium is constant"):
        step.spread_static(medium, box, room(12, 12))
    with pytest.raises(ValueError, match="contrast is the largest"):
        step.draw_static(box, [0], 0, conditions=conditions(box, 1, 0.1, contrast=0.5))
    with pytest.raises(ValueError, match=r"resolution \(8,\) needs 2 entries"):
        WaveMedium((8,), max_dt=0.1).box(box)
    with pytest.raises(ValueError, match="waves must be positive"):
        WaveMedium(max_dt=0.1, waves=0)
