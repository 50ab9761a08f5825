"""Classifier-free guidance: its two ends, the closed form for Gaussian conditions, what is dropped, and one batch for both branches."""

import json

import pytest
import torch
from torch import nn

from surrogates.contracts import Refiner
from surrogates.domains import Box, Mesh
from surrogates.noise import AtStep, SeededNoise, uniform
from surrogates.record import construct, describe
from surrogates.refine import FEATURES, FlowMatching, GuessSource, VariancePreserving, ab2, heun
from surrogates.refine.classifier_free import DROP_DRAW, ClassifierFree, coded
from surrogates.refine.features import time_of
from surrogates.refine.path import Linear
from surrogates.train.build import operator_sizes

F64 = {"dtype": torch.float64}


class Conditional(nn.Module):
    """The exact velocity for x | c ~ N(c, spread[0]^2), and N(mean, spread[1]^2) where c is void; one channel, one condition."""

    def __init__(self, mean=0.5, spread=(0.6, 1.2), path=Linear()):  # noqa: B008
        super().__init__()
        self.mean, self.spread, self.path, self.calls = mean, spread, path, []

    def forward(self, x, domain, embedding=None):
        self.calls.append(len(x))
        c, void, s = embedding[:, 0], embedding[:, 1], time_of(embedding)
        m = torch.where(void > 0, self.mean, c)[:, None, None]
        deviation = torch.where(void > 0, self.spread[1], self.spread[0])[:, None, None]
        a, b, da, db = self.path.coefficients(s[:, None, None])
        k = (a * da * deviation**2 + b * db) / (a**2 * deviation**2 + b**2)
        return da * m + k * (x[:, :1] - a * m)


class Mixing(nn.Module):
    """Some network of all it is given, pointwise."""

    def __init__(self, inputs, outputs, embedding):
        super().__init__()
        g = torch.Generator().manual_seed(1)
        self.w = nn.Parameter(torch.randn(inputs, outputs, generator=g, **F64))
        self.t = nn.Parameter(torch.randn(embedding, outputs, generator=g, **F64))

    def forward(self, x, domain, embedding=None):
        told = domain.expand(embedding @ self.t.to(x))
        return torch.tanh(torch.einsum("bi...,io->bo...", x, self.w.to(x)) + told)


def made(weight, operator=None, path=Linear(), **kwargs):  # noqa: B008
    return ClassifierFree(operator or Conditional(path=path), channels=1, weight=weight, path=path, **kwargs)


def seeded(rows):
    return AtStep(SeededNoise(0, rows, [0] * len(rows)), 0)


EMPTY, C = torch.zeros(3, 0, 6, **F64), torch.tensor([[-1.0], [0.3], [2.0]], **F64)


@pytest.mark.parametrize("sampler", [heun, ab2])
@pytest.mark.parametrize(("weight", "void"), [(1.0, 0.0), (0.0, 1.0)])
def test_the_two_ends_are_the_two_models_bit_for_bit(weight, void, sampler, points, plain):
    refiner = made(weight, sampler=sampler)
    other = FlowMatching(Conditional(), channels=1, sampler=sampler)
    code = torch.cat([C * (1 - void), torch.full_like(C, void)], 1)
    assert torch.equal(refiner(None, EMPTY, C, points(6), plain()), other(None, EMPTY, code, points(6), plain()))
    assert refiner.operator.calls == [3] * refiner.evaluations


@pytest.mark.parametrize("weight", [1.0 + 1e-14, 1e-14])
def test_the_ends_are_where_the_doubled_batch_leads(weight, points, plain):
    near, end = (made(w, steps=8)(None, EMPTY, C, points(6), plain()) for w in (weight, float(round(weight))))
    torch.testing.assert_close(near, end, rtol=0, atol=1e-12)


@pytest.mark.parametrize("path", [Linear(), VariancePreserving()], ids=str)
@pytest.mark.parametrize("weight", [0.4, 1.7, 3.0])
def test_guided_gaussians_of_one_spread_have_the_mean_carried_on(weight, path, points, plain):
    """N(m0 + w (c - m0), l): the spread stays."""
    refiner = made(weight, Conditional(0.5, (0.7, 0.7), path), path, sampler=heun, steps=200)
    x, e = refiner(None, EMPTY, C, points(6), plain()), plain()(EMPTY.new_empty(3, 1, 6), draw=0)
    torch.testing.assert_close(x, 0.5 + weight * (C[:, :, None] - 0.5) + 0.7 * e, rtol=0, atol=3e-4)


@pytest.mark.parametrize("weight", [0.4, 1.7, 3.0])
def test_guided_gaussians_of_one_mean_have_a_geometric_spread(weight, points, plain):
    """The variance l0^(1-w) l^w, not the 1/((1-w)/l0 + w/l) of the power of densities."""
    refiner = made(weight, Conditional(0.0, (0.6, 1.2)), sampler=heun, steps=200)
    x, e = refiner(None, EMPTY, 0 * C, points(6), plain()), plain()(EMPTY.new_empty(3, 1, 6), draw=0)
    torch.testing.assert_close(x, 1.2 ** (1 - weight) * 0.6**weight * e, rtol=0, atol=3e-4)
    assert abs(1.2 ** (1 - weight) * 0.6**weight - abs((1 - weight) / 1.44 + weight / 0.36) ** -0.5) > 0.02


def test_both_branches_run_in_one_batch(points, plain):
    refiner = made(2.0, sampler=heun, steps=3)
    refiner(None, EMPTY, C, points(6), plain())
    assert refiner.operator.calls == [6] * refiner.evaluations == [6] * 5


def test_without_dropping_it_is_flow_matching_bit_for_bit(points, plain):
    network = Mixing(1 + 2 + 1, 1, 2 + FEATURES)
    u, context = plain(1)(torch.empty(3, 1, 6, **F64), draw=0), plain(2)(torch.empty(3, 2, 6, **F64), draw=0)
    ours = ClassifierFree(network, channels=1, drop=0.0, source=GuessSource())
    theirs = FlowMatching(network, channels=1, source=GuessSource())
    code = torch.cat([C, 0 * C], 1)
    loss = ours.loss(u, u, context, C, points(6), plain())
    assert torch.equal(loss, theirs.loss(u, u, context, code, points(6), plain()))
    assert torch.equal(ours(u, context, C, points(6), plain()), theirs(u, context, code, points(6), plain()))
    loss.sum().backward()
    assert network.w.grad.abs().min() > 0


def test_members_are_dropped_at_the_stated_rate_by_their_own_draw(points):
    rows = list(range(4000))
    chance = uniform(seeded(rows), torch.empty(4000, 1), draw=DROP_DRAW).flatten()
    refiner = ClassifierFree(Mixing(1, 1, 2 + FEATURES), channels=1, drop=0.3)
    assert abs((chance < 0.3).double().mean() - 0.3) < 0.03
    c = torch.ones(4000, 1, **F64)
    seen = []
    refiner.operator.register_forward_pre_hook(lambda _, given: seen.append(given[2][:, :2]))
    whole = refiner.loss(torch.ones(4000, 1, 1, **F64), None, torch.zeros(4000, 0, 1, **F64), c, points(1), seeded(rows))
    void = (chance < 0.3).double()
    assert torch.equal(seen[0], torch.stack([1 - void, void], 1))
    some = [7, 3999]
    part = refiner.loss(torch.ones(2, 1, 1, **F64), None, torch.zeros(2, 0, 1, **F64), c[:2], points(1), seeded(some))
    torch.testing.assert_close(part, whole[some], rtol=1e-12, atol=0)


@pytest.mark.parametrize("guess", [False, True])
def test_rows_do_not_see_each_other(guess, points):
    refiner = ClassifierFree(Mixing(1 + 2 + guess, 1, 2 + FEATURES), channels=1, weight=2.5, sampler=heun)
    context = torch.linspace(-1, 1, 36, **F64).reshape(3, 2, 6)
    first = context[:, :1] if guess else None
    whole = refiner(first, context, C, points(6), seeded([4, 5, 6]))
    alone = refiner(first if first is None else first[2:], context[2:], C[2:], points(6), seeded([6]))
    torch.testing.assert_close(alone, whole[2:], rtol=1e-13, atol=1e-13)


def test_several_meshes_in_one_row_have_conditions_each(plain):
    ring = Mesh.from_nearest([[0.0], [0.2], [0.5], [0.7]], 2, periods=(1.0,))
    batch = Mesh.batch([ring, ring, ring])
    single = made(2.0, sampler=heun, steps=3)
    context, draws = torch.zeros(3, 0, 4, **F64), plain()
    apart = single(None, context, C, ring, draws)
    joined = ClassifierFree(Spread(Conditional(), batch), channels=1, weight=2.0, sampler=heun, steps=3)
    together = joined(None, torch.zeros(1, 0, 12, **F64), C, batch, lambda like, draw: draws(apart, draw=draw).reshape(1, 1, 12))
    torch.testing.assert_close(together.reshape(3, 1, 4), apart, rtol=0, atol=1e-13)


class Spread(nn.Module):
    """`inner` on the members of a mesh as rows of their own."""

    def __init__(self, inner, batch):
        super().__init__()
        self.inner, self.batch = inner, batch

    def forward(self, x, domain, embedding=None):
        each = x.reshape(len(x), x.shape[1], domain.members, -1).transpose(1, 2).flatten(0, 1)
        return self.inner(each, domain, embedding).reshape(len(x), domain.members, x.shape[1], -1).transpose(1, 2).flatten(2)


def test_a_learned_shift_is_carried_on(points, plain):
    """Two conditions, +1 and -1, one affine network: guidance of 2 doubles what the condition changes."""

    class Affine(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Linear(3 + FEATURES, 32), nn.SiLU(), nn.Linear(32, 1))

        def forward(self, x, domain, embedding=None):
            return self.net(torch.cat([x[..., 0], embedding], 1))[..., None]

    torch.manual_seed(0)
    refiner = ClassifierFree(Affine(), channels=1, drop=0.25, steps=8)
    optimiser = torch.optim.Adam(refiner.parameters(), 1e-2)
    c = torch.tensor([[-1.0], [1.0]]).repeat(128, 1)
    for i in range(300):
        truth = 0.5 * c[..., None] + 0.3 * plain(i)(torch.empty(256, 1, 1), draw=9)
        loss = refiner.loss(truth, None, torch.zeros(256, 0, 1), c, points(1), plain(i)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    means = []
    for weight in (0.0, 1.0, 2.0):
        refiner.weight = weight
        with torch.no_grad():
            x = refiner(None, torch.zeros(256, 0, 1), c, points(1), plain(-1))
        means.append(((x[1::2] - x[0::2]).mean() / 2).item())
    assert abs(means[0]) < 0.08 and abs(means[1] - 0.5) < 0.08 and 0.7 < means[2] < 1.3, means


def test_it_writes_itself_down_and_says_its_widths(points, plain):
    refiner = made(2.0, Mixing(1, 1, 2 + FEATURES), drop=0.2, sampler=ab2)
    assert isinstance(refiner, Refiner)
    described = describe(refiner.arguments | {"operator": None})
    again = ClassifierFree(refiner.operator, **{k: v for k, v in construct(json.loads(json.dumps(described))).items() if k != "operator"})
    assert torch.equal(again(None, EMPTY, C, points(6), plain()), refiner(None, EMPTY, C, points(6), plain()))
    assert operator_sizes(ClassifierFree, 2, 4, 1, True, 1) == (8, 2, 1 + 1 + FEATURES)


def test_the_null_code_differs_from_the_mean_parameter():
    dropped = torch.tensor([True, False])
    codes = coded(torch.zeros(2, 3), dropped)
    assert not torch.equal(codes[0], codes[1]) and torch.equal(coded(torch.full((2, 3), 9.0), dropped)[0], codes[0])


def test_what_is_refused(plain):
    box = Box.periodic((6,), 1.0)
    for drop in (-0.1, 1.0, float("nan")):
        with pytest.raises(ValueError, match="drop is .* but a probability"):
            made(1.0, drop=drop)
    with pytest.raises(ValueError, match="drop=0 never trains the unconditional model"):
        made(2.0, drop=0.0)
    for call in (
        lambda: made(2.0)(None, EMPTY, None, box, plain()),
        lambda: made(1.0).loss(EMPTY.new_zeros(3, 1, 6), None, EMPTY, None, box, plain()),
    ):
        with pytest.raises(ValueError, match="there is no embedding; condition the surrogate"):
            call()
