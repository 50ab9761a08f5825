"""Bridges: the paper's formulas, derivatives against autograd, both ends from a drift, and the strength of the Foellmer process."""

import math

import pytest
import torch

from surrogates.record import construct, describe
from surrogates.refine.bridge import BrownianBridge, Foellmer, foellmer_diffusion, own_diffusion

F64 = {"dtype": torch.float64}
BRIDGES = [Foellmer(), Foellmer(0.3), BrownianBridge(), BrownianBridge(2.0)]


def states(n=3):
    g = torch.Generator().manual_seed(0)
    return torch.randn(n, 2, 1, 5, generator=g, **F64).unbind(0)


def test_the_paper_s_interpolant_and_drift():
    x, u, eps = states()
    bridge, tau = Foellmer(0.7), 0.36
    w = math.sqrt(tau) * eps
    torch.testing.assert_close(bridge.interpolate(x, u, w, 1 - tau), (1 - tau) * u + tau**2 * x + 0.7 * (1 - tau) * math.sqrt(tau) * eps)
    torch.testing.assert_close(bridge.drift(x, u, w, 1 - tau), -u + 2 * tau * x - 0.7 * math.sqrt(tau) * eps)
    assert math.isclose(own_diffusion(bridge, 1 - tau), (0.7 * (1 - tau)) ** 2)
    assert math.isclose(foellmer_diffusion(bridge, 1 - tau), 0.7**2 * (3 - tau) * (1 - tau))


@pytest.mark.parametrize("s", [0.9, 0.5, 0.01])
def test_the_foellmer_process_of_a_brownian_bridge_has_constant_strength(s):
    assert math.isclose(foellmer_diffusion(BrownianBridge(0.8), s), 0.64)


@pytest.mark.parametrize("bridge", BRIDGES, ids=str)
def test_ends_and_derivatives(bridge):
    s = torch.linspace(0.05, 0.95, 7, **F64).requires_grad_()
    values = bridge.coefficients(s)
    for f, df in zip(values[:3], values[3:], strict=True):
        (slope,) = torch.autograd.grad(f.sum(), s)
        torch.testing.assert_close(torch.as_tensor(df, **F64).expand(7), slope)
    at_source, at_data = bridge.coefficients(1.0), bridge.coefficients(1e-12)
    assert at_source[:2] == (0, 1)
    assert max(abs(at_data[0] - 1), at_data[1], at_data[2]) < 1e-5


@pytest.mark.parametrize("bridge", BRIDGES, ids=str)
@pytest.mark.parametrize("s", [0.97, 0.4, 0.02])
def test_a_drift_tells_both_ends(bridge, s):
    x, u, w = states()
    z, d = bridge.interpolate(x, u, w, s), bridge.drift(x, u, w, s)
    torch.testing.assert_close(bridge.data(z, u, d, s), x, rtol=0, atol=1e-10)
    torch.testing.assert_close(bridge.wiener(z, u, d, s), w, rtol=0, atol=1e-10)
    torch.testing.assert_close(bridge.towards(z, u, x, s), d, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("bridge", BRIDGES, ids=str)
def test_what_a_network_tells_is_bounded(bridge):
    x, u, eps = states()
    for s in (1 - 1e-9, 1e-9):
        assert (bridge.drift(x, u, math.sqrt(1 - s) * eps, s) / bridge.gain(s)).abs().max() < 20


def test_the_drift_that_needs_no_network():
    assert Foellmer().departs_blindly and not BrownianBridge().departs_blindly


@pytest.mark.parametrize("bridge", BRIDGES, ids=str)
def test_a_bridge_writes_itself_down(bridge):
    assert construct(describe(bridge)) == bridge


@pytest.mark.parametrize("cls", [Foellmer, BrownianBridge])
def test_a_bridge_without_noise_is_refused(cls):
    with pytest.raises(ValueError, match="leaves its state by noise"):
        cls(0.0)
