"""Reaction and diffusion: uniform states, linear growth, products without aliasing, order, symmetries."""

from __future__ import annotations

import itertools
from math import log2, pi

import pytest
import torch
from scipy.integrate import solve_ivp

from surrogates.domains import Box
from surrogates.pde import GrayScott, gray_scott
from surrogates.record import construct, describe
from tests.laws import step_laws

BOX = Box.periodic((24, 32), (0.6, 0.8))
SPOTS = {"feed": 0.03, "kill": 0.062}


def reaction(t, u, feed: float, kill: float):
    a, b = u
    return [-a * b**2 + feed * (1 - a), a * b**2 - (feed + kill) * b]


def test_a_uniform_state_obeys_the_ordinary_equations(evolve) -> None:
    u = torch.tensor([0.6, 0.4], dtype=torch.float64).reshape(1, 2, 1, 1).expand(-1, -1, 24, 32)
    out = evolve(GrayScott(max_dt=0.125), u, BOX, 30.0, **SPOTS)
    exact = solve_ivp(reaction, (0, 30), [0.6, 0.4], args=(0.03, 0.062), rtol=1e-11, atol=1e-13).y[:, -1]
    torch.testing.assert_close(out, torch.tensor(exact).reshape(1, 2, 1, 1).expand_as(out), rtol=0, atol=1e-8)


def uniform(feed: float, kill: float):
    """The uniform state other than A = 1: A B = F + k, B = (1 + sqrt(1 - 4 (F + k)^2/F)) F/(2 (F + k))."""
    b = feed / (2 * (feed + kill)) * (1 + (1 - 4 * (feed + kill) ** 2 / feed) ** 0.5)
    return (feed + kill) / b, b


@pytest.mark.parametrize(("ratio", "waves", "unstable"), [(8.0, 7, True), (8.0, 3, False), (2.0, 6, False)])
def test_turing_modes_grow_as_linear_theory_says(ratio, waves, unstable, evolve) -> None:
    """Perturbations of a uniform state that is stable without diffusion: they grow where A diffuses fast enough, as J - k^2 D has it."""
    feed, kill, d = 0.05, 0.05, 1e-5
    a, b = uniform(feed, kill)
    k = 2 * pi * waves / 0.8
    diffusion = k**2 * d * torch.diag(torch.tensor([ratio, 1.0], dtype=torch.float64))
    J = torch.tensor([[-(b**2) - feed, -2 * a * b], [b**2, 2 * a * b - feed - kill]], dtype=torch.float64)
    values, vectors = torch.linalg.eig(J - diffusion)
    lead = int(values.real.argmax())
    sigma, shape = values[lead], vectors[:, lead]
    assert torch.linalg.eigvals(J).real.max() < 0
    assert (sigma.real > 0) == unstable
    wave = torch.exp(1j * k * BOX.grid()[1])
    t, small = 20.0, 1e-7

    def at(time: float):
        moved = small * (shape.reshape(2, 1, 1) * torch.exp(sigma * time) * wave).real
        return torch.tensor([a, b], dtype=torch.float64).reshape(2, 1, 1) + moved

    out = evolve(GrayScott(max_dt=0.5), at(0.0)[None], BOX, t, feed=feed, kill=kill, diffusion_a=ratio * d, diffusion_b=d)
    torch.testing.assert_close(out[0], at(t), rtol=0, atol=1e-3 * small)


def test_the_product_of_three_does_not_alias(conditions) -> None:
    step, fine = GrayScott(max_dt=1.0, feed=0.03, kill=0.06), BOX.with_shape((96, 128))
    w = step.encode(step.initial(BOX, [0, 1], 0, spots=3, radius=0.1), BOX)
    p = {
        name: torch.full((1,), v, dtype=torch.float64)
        for name, v in (("feed", 0.0), ("kill", 0.0), ("diffusion_a", 0.0), ("diffusion_b", 0.0))
    }
    u = gray_scott.to_grid(w, fine.shape)
    expected = gray_scott.of_grid(u[:, :1] * u[:, 1:] ** 2, gray_scott.cutoff(BOX))
    found = step.terms(BOX, p, w.dtype, w.device)[1](w)
    torch.testing.assert_close(found, torch.cat([-expected, expected], 1), rtol=0, atol=1e-14)


def test_what_reacts_is_not_lost(evolve) -> None:
    """<A + B> changes by F (1 - <A>) - (F + k) <B>: the reaction itself only turns one into the other."""
    step = GrayScott(max_dt=0.5, **SPOTS)
    dt, u = 1.0, evolve(step, step.initial(BOX, [0], 1, spots=3, radius=0.06), BOX, 40.0)
    frames = [BOX.average(v) for v in (u, evolve(step, u, BOX, dt), evolve(step, u, BOX, dt, 2))]
    rate = [0.03 * (1 - m[:, 0]) - 0.092 * m[:, 1] for m in frames]
    change = (frames[2] - frames[0]).sum(1)
    torch.testing.assert_close(change, dt / 3 * (rate[0] + 4 * rate[1] + rate[2]), rtol=1e-4, atol=0)


def test_fourth_order_in_time(evolve) -> None:
    u = GrayScott(max_dt=1.0).initial(BOX, [0], 1, spots=3, radius=0.08)
    answers = [evolve(GrayScott(max_dt=h, **SPOTS), u, BOX, 32.0) for h in (4.0, 2.0, 1.0)]
    first, second = ((a - b).square().mean().sqrt() for a, b in itertools.pairwise(answers))
    assert 3.6 < log2(first / second) < 4.6


def test_symmetries(evolve) -> None:
    step = GrayScott(max_dt=1.0, **SPOTS)
    u = step.initial(BOX, [0], 1, spots=3, radius=0.08)
    out = evolve(step, u, BOX, 20.0)
    for move in (lambda v: v.roll((5, -3), (2, 3)), lambda v: v.flip(2).roll(1, 2), lambda v: v.flip(3).roll(1, 3)):
        torch.testing.assert_close(evolve(step, move(u), BOX, 20.0), move(out), rtol=0, atol=1e-12)


def test_spots_grow_and_split_where_they_should_and_die_where_not(evolve) -> None:
    step = GrayScott(max_dt=2.0, dtype="float32")
    box = BOX.with_shape((48, 64))
    u = step.initial(box, [0], 1, spots=2, radius=0.06).float()
    alive, dead = (evolve(step, u, box, 400.0, feed=0.03, kill=k)[:, 1:].mean() for k in (0.062, 0.08))
    assert alive > 0.02 and dead < 1e-4


def test_what_every_step_owes(conditions) -> None:
    step = GrayScott(max_dt=1.0)
    u = step.initial(BOX, [0, 1], 0, spots=4, radius=0.08)
    assert ((u >= 0) & (u <= 1)).all()
    step_laws(step, u[:, None], conditions(BOX, 2, 2.0, feed=[0.03, 0.04], kill=0.06), lambda rows: None, rounding=1e-12)
    assert describe(construct(describe(step))) == describe(step)
    torch.testing.assert_close(step.initial(BOX, [1], 0, spots=4, radius=0.08)[0], u[1])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"spots": 0}, "initial.spots must be a whole number, 1 or more, got 0"), ({"spots": 2.5}, "got 2.5"), ({"spots": -1}, "got -1"),
     ({"radius": 0.0}, "initial.radius must be positive, in lengths of the box, got 0"), ({"radius": -0.1}, "got -0.1"),
     ({"radius": float("nan")}, "got nan"), ({"spots": float("inf")}, "initial.spots must be a whole number")],
)  # fmt: skip
def test_spots_that_are_none_are_named(wrong: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        GrayScott(max_dt=1.0).initial(BOX, [0], 1, **wrong)
