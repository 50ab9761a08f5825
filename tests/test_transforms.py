"""Transforms: every one is undone, rises, and keeps the digits of small numbers; a file's entry is checked."""

from __future__ import annotations

import pytest
import torch

from surrogates.transforms import Asinh, BoxCox, Log, SignedPower, Transform, transform_of

EVERY = [
    Log(),
    Log(1e-3),
    BoxCox(0.3, 2.0),
    BoxCox(0.0, 1e-2),
    BoxCox(1.0),
    SignedPower(),
    SignedPower(0.25, 10.0),
    SignedPower(2.0),
    Asinh(0.1),
]


@pytest.mark.parametrize("transform", EVERY, ids=str)
def test_the_inverse_is_exact_and_the_order_kept(transform: Transform) -> None:
    low = max(transform.floor, -50.0)
    u = low + torch.logspace(-4, 2, 200, dtype=torch.float64)
    z = transform(u)
    torch.testing.assert_close(transform.inverse(z), u, rtol=1e-10, atol=1e-10)
    assert (z.diff() > 0).all()
    single = transform.inverse(transform(u.float()))
    torch.testing.assert_close(single, u.float(), rtol=2e-5, atol=1e-5 * max(1.0, abs(low)))


def test_small_numbers_keep_their_digits() -> None:
    u = torch.tensor([1e-9, 3e-7])
    torch.testing.assert_close(Log(1.0).inverse(Log(1.0)(u)), u, rtol=1e-6, atol=0)


def test_what_has_no_inverse_falls_on_the_floor() -> None:
    assert BoxCox(0.5, 1.0).inverse(torch.tensor([-5.0])).item() == -1.0


@pytest.mark.parametrize("transform", [*EVERY, BoxCox(0.3), BoxCox(0.0), BoxCox(2.0)], ids=str)
def test_gradients_are_finite_at_zero_and_right_elsewhere(transform: Transform) -> None:
    """In float64 beside central differences, in both directions; where a power has no slope none is passed on."""
    u = torch.tensor([0.0, 0.4, 3.0], dtype=torch.float64, requires_grad=True)
    for f, at in ((transform, u), (transform.inverse, torch.tensor([0.0, 0.3, 1.1], dtype=torch.float64, requires_grad=True))):
        (slope,) = torch.autograd.grad(torch.where(f(at).isfinite(), f(at), 0.0).sum(), at)
        assert slope.isfinite().all()
        h = 1e-6
        numeric = (f(at + h) - f(at - h)) / (2 * h)
        torch.testing.assert_close(slope[1:], numeric[1:].detach(), rtol=1e-6, atol=1e-8)


def test_entries_of_a_file_are_checked() -> None:
    assert transform_of({"class": "Log", "eps": 1e-4}, "k") == Log(1e-4) and transform_of("Asinh", "k") == Asinh()
    with pytest.raises(ValueError, match="did you mean 'Log'"):
        transform_of("Logg", "normalise.transforms.rain")
    with pytest.raises(ValueError, match="k.eps: 'x' is no number"):
        transform_of({"class": "Log", "eps": "x"}, "k")
    with pytest.raises(ValueError, match="k: .*epsilon"):
        transform_of({"class": "Log", "epsilon": 1}, "k")
    with pytest.raises(ValueError, match="eps must be positive"):
        Log(0.0)
