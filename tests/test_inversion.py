"""Gradients through the rollout: the same with checkpoints and in less memory; an initial state and a viscosity are found again by them."""

from __future__ import annotations

import gc
import math
from collections import deque
from contextlib import suppress
from typing import Any

import pytest
import torch
from torch import Tensor

from surrogates.contracts import Conditions
from surrogates.domains import Box
from surrogates.noise import SeededNoise
from surrogates.pde import Burgers, KuramotoSivashinsky
from surrogates.rollout import checkpointed, rollout

BOX = Box.periodic((32,), 2 * math.pi)
STEP = Burgers(None, max_dt=0.05, dtype="float64")


def conditions(viscosity: Tensor, dt: float = 0.1, box: Box = BOX) -> Conditions:
    ones = torch.ones(1, dtype=torch.float64)
    return Conditions(box, 0 * ones, dt * ones, viscosity.reshape(1, 1), ("viscosity",))


def wave(box: Box = BOX) -> Tensor:
    (x,) = box.grid()
    return (x.sin() + 0.5 * (2 * x).cos())[None, None, None]


def viscosity(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


@pytest.mark.parametrize("every", [1, 3, 10, 99])
def test_checkpoints_change_neither_frames_nor_gradients(every: int) -> None:
    results = []
    for roll in (rollout, lambda *a: checkpointed(*a, every=every)):
        u, nu = wave().requires_grad_(), viscosity(0.1).requires_grad_()
        frames = torch.stack(list(roll(STEP, u, 10, conditions(nu).after, SeededNoise(0, [0], [0]))), 1)
        results.append((frames.detach(), *torch.autograd.grad(frames.square().sum(), (u, nu))))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)


def held() -> int:
    """Bytes of all tensors that live, each storage once."""
    gc.collect()
    storages = {}
    for u in gc.get_objects():
        if type(u) is Tensor and u.layout is torch.strided:
            with suppress(NotImplementedError):  # wrappers of other tests' transforms have no storage
                storages[u.untyped_storage().data_ptr()] = u.untyped_storage().nbytes()
    return sum(storages.values())


def bytes_kept(roll: Any) -> int:
    """What a rollout of 36 calls holds on to for its way back; the hooks make Python objects of what autograd keeps, so that it is seen."""
    before = held()
    with torch.autograd.graph.saved_tensors_hooks(lambda u: u, lambda u: u):
        u = wave().requires_grad_()
        (last,) = deque(roll(STEP, u, 36, conditions(viscosity(0.1)).after), maxlen=1)
    assert last.requires_grad
    return held() - before


def test_checkpoints_keep_only_the_states_between_segments() -> None:
    plain, six = bytes_kept(rollout), bytes_kept(lambda *a: checkpointed(*a, every=6))
    frame = wave().untyped_storage().nbytes()
    assert 6 * frame < six < plain / 3


def test_a_viscosity_is_found_again() -> None:
    truth = torch.stack(list(rollout(STEP, wave(), 8, conditions(viscosity(0.07)).after)), 1)
    log = viscosity(math.log(0.2)).requires_grad_()
    optimiser = torch.optim.LBFGS([log], max_iter=20, line_search_fn="strong_wolfe", tolerance_grad=1e-12, tolerance_change=1e-14)

    def misfit() -> Tensor:
        optimiser.zero_grad()
        frames = torch.stack(list(checkpointed(STEP, wave(), 8, conditions(log.exp()).after, every=3)), 1)
        loss = (frames - truth).square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(misfit)  # type: ignore[no-untyped-call]
    assert abs(float(log.detach().exp()) - 0.07) < 1e-6


@pytest.mark.slow
def test_an_initial_state_is_found_again_from_later_frames() -> None:
    """From a blank guess and the frames after the first; what the equation has damped before it was seen stays unknown."""
    box = Box.periodic((48,), 32.0)
    step = KuramotoSivashinsky(None, max_dt=0.2, dtype="float64")
    ones = torch.ones(1, dtype=torch.float64)
    c = Conditions(box, 0 * ones, 0.2 * ones, torch.zeros(1, 0, dtype=torch.float64))
    u0 = torch.stack(list(rollout(step, step.initial(box, [0], 0)[:, None], 250, c.after)))[-1][:, None]
    truth = torch.stack(list(rollout(step, u0, 16, c.after)), 1)
    guess = torch.zeros_like(u0).requires_grad_()
    optimiser = torch.optim.LBFGS([guess], max_iter=150, line_search_fn="strong_wolfe", tolerance_grad=1e-12, tolerance_change=1e-14)

    def misfit() -> Tensor:
        optimiser.zero_grad()
        frames = torch.stack(list(checkpointed(step, guess, 16, c.after, every=4)), 1)
        loss = (frames - truth).square().mean()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(misfit)  # type: ignore[no-untyped-call]
    error = (guess.detach() - u0).square().mean().sqrt() / u0.square().mean().sqrt()
    assert float(error) < 0.03


def test_a_segment_needs_a_call() -> None:
    with pytest.raises(ValueError, match="every=0"):
        next(checkpointed(STEP, wave(), 1, conditions(viscosity(0.1)).after, every=0))
