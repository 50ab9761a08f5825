"""Couplings: a permutation of least cost, which the price of changing context undoes."""

import itertools

import pytest
import torch

from surrogates.record import construct, describe
from surrogates.refine import FlowMatching, GaussianVelocity, Independent, Transport

F64 = {"dtype": torch.float64}


def batch(n, c=2, seed=0):
    return torch.randn(n, c, 3, generator=torch.Generator().manual_seed(seed), **F64)


def test_no_permutation_costs_less():
    x, e, k = batch(5), batch(5, seed=1), batch(5, 1, seed=2)
    for weight in (0.0, 0.7):
        paired = Transport(weight)(x, e, k)
        order = [int((e == row).flatten(1).all(1).nonzero()) for row in paired]

        def cost(p, weight=weight):
            p = list(p)
            return float((x - e[p]).square().sum() + weight * (k - k[p]).square().sum())

        assert cost(order) == pytest.approx(min(cost(p) for p in itertools.permutations(range(5))))


def test_a_high_price_leaves_all_as_drawn():
    x, e, k = batch(6), batch(6, seed=1), batch(6, 1, seed=2)
    assert torch.equal(Transport(1e6)(x, e, k), e) and torch.equal(Independent()(x, e, k), e)
    assert not torch.equal(Transport(0.0)(x, e, k), e)


def test_transport_makes_straighter_paths(gaussian, points, plain):
    """On Gaussian data the least conditional variance of the velocity falls with the coupling's cost."""
    oracle, context = GaussianVelocity(*gaussian), torch.zeros(400, 0, 1, **F64)
    truth = oracle.flow(torch.randn(400, 2, 1, generator=torch.Generator().manual_seed(3), **F64))

    def speed(coupling):
        refiner = FlowMatching(oracle, channels=2, coupling=coupling).double()
        x, e = refiner.pair(truth, refiner.frame(None, context), context, points(1), plain())
        return (e - x).square().mean()

    assert speed(Transport(0.0)) < 0.5 * speed(Independent())


def test_a_coupling_writes_itself_down():
    assert construct(describe(Transport(0.3))) == Transport(0.3)
    with pytest.raises(ValueError, match="must not be negative"):
        Transport(-1.0)
