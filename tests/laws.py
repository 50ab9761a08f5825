"""What every Step, Operator, Constraint, Domain and Metric must pass. A new one is added to `test_laws.py`, a network to `networks.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from surrogates import operators
from surrogates.contracts import Conditions, Constraint, Domain, Draws, Metric, Noise, Operator, Refiner, Step
from surrogates.rollout import begin, bundles, rollout

SAME = {"rtol": 0.0, "atol": 0.0}


def step_laws(step: Step, past: Tensor, conditions: Conditions, noise: Callable[[Tensor], Noise | None], *, rounding: float) -> None:
    """past: (B >= 2, H, C, *X). Shapes; roll(a + b) is roll(b) after roll(a), bit for bit; rows do not see each other; inputs stay."""
    before, rows = past.clone(), torch.arange(len(past))
    whole = torch.stack(list(rollout(step, past, 4 * step.bundle, conditions.after, noise(rows))), 1)
    assert whole.shape == (len(past), 4 * step.bundle, step.outputs.count, *past.shape[3:])
    assert torch.equal(past, before), "a step changed its caller's tensor"
    state, parts = begin(step, past, conditions), []
    for made in (0, 2 * step.bundle):  # the state alone carries the run from one part to the next
        part = list(bundles(step, state, made + 2 * step.bundle, conditions.after, noise(rows), made))
        parts += [bundle for bundle, _ in part]
        state = dict(part[-1][1])
    torch.testing.assert_close(torch.cat(parts, 1), whole, **SAME)
    last = rows[-1:]
    alone = torch.stack(list(rollout(step, past[last], 4 * step.bundle, conditions.rows(last).after, noise(last))), 1)
    torch.testing.assert_close(alone, whole[last], rtol=rounding, atol=rounding * float(whole.abs().max()))


def operator_laws(operator: Operator, x: Tensor, domain: Domain, embedding: Tensor | None, *, rounding: float) -> None:
    """x: (B >= 2, Cin, *X). Rows do not see each other, inputs stay, and the answer has x's grid, type and device."""
    before = x.clone()
    y = operator(x, domain, embedding)
    assert y.shape[0] == x.shape[0] and y.shape[2:] == x.shape[2:] and (y.dtype, y.device) == (x.dtype, x.device)
    assert torch.equal(x, before), "an operator changed its caller's tensor"
    alone = operator(x[-1:], domain, None if embedding is None else embedding[-1:])
    torch.testing.assert_close(alone, y[-1:], rtol=rounding, atol=rounding * float(y.abs().max()))


def refiner_laws(
    refiner: Refiner,
    truth: Tensor,
    guess: Tensor | None,
    context: Tensor,
    embedding: Tensor | None,
    domain: Domain,
    noise: Callable[[Tensor], Draws],
    *,
    rounding: float,
) -> None:
    """truth: (B >= 2, C, *X); noise(rows) gives the draws of rows. The same draws on any split of the batch, inputs stay, a loss a member
    whose gradient reaches every weight that is trained, samples that are differentiable, evaluations that are counted."""
    assert isinstance(refiner, Refiner)
    inputs = [u for u in (truth, guess, context, embedding) if u is not None]
    before, rows, last = [u.clone() for u in inputs], torch.arange(len(truth)), torch.tensor([len(truth) - 1])
    members = len(truth) * domain.members

    def cut(u: Tensor | None) -> Tensor | None:
        return None if u is None else u[last]

    with torch.no_grad(), counted(refiner) as calls:
        x = refiner(guess, context, embedding, domain, noise(rows))
    assert calls[0] == refiner.evaluations, f"{calls[0]} evaluations were made, {refiner.evaluations} reported"  # type: ignore[attr-defined]
    assert x.shape == truth.shape and (x.dtype, x.device) == (truth.dtype, truth.device)
    with torch.no_grad():
        alone = refiner(cut(guess), context[last], cut(embedding), domain, noise(last))
        torch.testing.assert_close(alone, x[last], rtol=rounding, atol=rounding * float(x.abs().max()))
        lawful = refiner(guess, context, embedding, domain, noise(rows), lambda u: u - u.mean(1, keepdim=True) + 3)
    torch.testing.assert_close(lawful.mean(1), torch.full_like(lawful[:, 0], 3.0), rtol=0, atol=1e3 * rounding)
    loss = refiner.loss(truth, guess, context, embedding, domain, noise(rows))
    assert loss.shape == (members,) and loss.dtype == torch.float64 and bool(loss.isfinite().all())
    loss.mean().backward()  # type: ignore[no-untyped-call]
    trained = [p for p in refiner.parameters() if p.requires_grad]  # type: ignore[attr-defined]
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in trained)
    assert all(torch.equal(u, v) for u, v in zip(inputs, before, strict=True)), "a refiner changed its caller's tensor"
    leaf = context.clone().requires_grad_()
    (g,) = torch.autograd.grad(refiner(guess, leaf, embedding, domain, noise(rows)).square().sum(), leaf)
    assert bool(g.isfinite().all()) and g.abs().max() > 0


@contextmanager
def counted(refiner: Refiner) -> Iterator[list[int]]:
    """How often the networks of a refiner were called; a call that holds other rows beside the given ones counts once."""
    calls = [0]

    def call(*_: object) -> None:
        calls[0] += 1

    hooks = [f.register_forward_hook(call) for f in networks(refiner)]
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()


def networks(refiner: Refiner) -> list[nn.Module]:
    """The operators inside a refiner."""
    children = dict(refiner.named_modules())  # type: ignore[attr-defined]
    return [m for m in children.values() if type(m).__module__.startswith("surrogates.operators.") and is_operator(m)]


def is_operator(m: nn.Module) -> bool:
    return type(m).__name__ in operators.__all__


def constraint_laws(law: Constraint, u: Tensor, conditions: Conditions, *, rounding: float) -> None:
    """u: (B >= 2, C, *X), violating the law. Afterwards the defect is rounding; twice is once; a lawful field stays; rows are alone."""
    reference = law.reference(u.roll(1, 0), conditions)  # another row's budget, or the law of integrals would hold already
    assert reference.dtype == torch.float64
    assert (law.defect(u, reference, conditions).abs().amax(1) > 1e3 * rounding).all(), "this field tests nothing: it obeys the law"
    lawful = law(u, reference, conditions)
    scale = float(u.abs().max())
    assert law.defect(lawful, reference, conditions).abs().max() < rounding
    torch.testing.assert_close(law(lawful, reference, conditions), lawful, rtol=0, atol=rounding * scale)
    rows = torch.tensor([len(u) - 1])
    torch.testing.assert_close(law(u[rows], reference[rows], conditions.rows(rows)), lawful[rows], rtol=0, atol=rounding * scale)
    assert lawful.dtype == u.dtype
    v = u.clone().requires_grad_()
    (g,) = torch.autograd.grad(law(v, reference, conditions).square().sum(), v)
    assert g.isfinite().all() and g.abs().max() > 0


def domain_laws(domain: Domain) -> None:
    """The measure is float64, positive where the domain is valid and zero elsewhere; integrals are linear and taken with it; a member's
    values spread over its points."""
    assert domain.measure.dtype == torch.float64 and domain.measure.shape == domain.shape
    valid = torch.ones(domain.shape, dtype=torch.bool) if domain.mask is None else domain.mask
    assert torch.equal(domain.measure > 0, valid) and bool((domain.measure >= 0).all())
    u = torch.randn(2, 3, *domain.shape, dtype=torch.float64)
    torch.testing.assert_close(domain.integral(u), (u * domain.measure).flatten(2).sum(2))
    torch.testing.assert_close(domain.integral(2 * u[:, :1] - u[:, 1:2]), 2 * domain.integral(u[:, :1]) - domain.integral(u[:, 1:2]))
    values = torch.rand(2 * domain.members, 4)
    assert domain.expand(values).shape[1:] == (4, *domain.shape)


def metric_laws(metric: Metric, prediction: Tensor, truth: Tensor, domain: Domain, conditions: Conditions) -> None:
    """prediction: (B, M, T, C, *X). The name has a version; leads and trajectories do not see each other; members have no order."""
    assert metric.name.rpartition(".v")[2].isdigit()
    whole = metric.value(metric.statistics(prediction, truth, domain, conditions))
    some, rows = slice(1, 2), torch.tensor([len(truth) - 1])
    part = metric.value(metric.statistics(prediction[rows][:, :, some], truth[rows][:, some], domain, conditions.rows(rows)))
    turned = metric.value(metric.statistics(prediction.flip(1), truth, domain, conditions))
    for name, value in whole.items():
        torch.testing.assert_close(part[name], value[rows][:, some], rtol=1e-9, atol=1e-12, equal_nan=True)
        torch.testing.assert_close(turned[name], value, rtol=1e-9, atol=1e-12, equal_nan=True)
