"""What every divergence-free projection must pass, whatever the domain, and its oracle: the nearest point by dense linear algebra."""

from __future__ import annotations

import json

import torch
from laws import constraint_laws
from torch import Tensor

from surrogates.constraints import DivergenceFree
from surrogates.contracts import Conditions, Domain
from surrogates.fields import Field, Fields
from surrogates.record import construct, describe


def law_of(domain: Domain, **options: tuple[str, ...]) -> DivergenceFree:
    """For a velocity beside a dye, one component an axis."""
    names = ("north", "east") if type(domain).__name__ == "Sphere" else ("x", "y", "z")[: domain.dim]  # type: ignore[attr-defined]
    return DivergenceFree(Fields.of(Field("dye"), Field("velocity", "m s-1", names)), **options)


def conditions(domain: Domain, rows: int) -> Conditions:
    ones = torch.ones(rows * domain.members, dtype=torch.float64)
    return Conditions(domain, 0 * ones, ones, torch.zeros(rows * domain.members, 0))


def noise(domain: Domain, rows: int = 2, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Dye and velocity; zero where a domain has no points."""
    generator = torch.Generator().manual_seed(seed)
    u = torch.randn(rows, 1 + domain.dim, *domain.shape, generator=generator, dtype=torch.float64)  # type: ignore[attr-defined]
    return (u if domain.mask is None else u * domain.mask).to(dtype)


def project(domain: Domain, v: Tensor, **options: tuple[str, ...]) -> Tensor:
    """A velocity (B, D, *X) or (D, *X) without its divergence."""
    rows = v if v.ndim == 2 + len(domain.shape) else v[None]
    u, at, law = torch.cat([rows[:, :1], rows], 1), conditions(domain, len(rows)), law_of(domain, **options)
    return law(u, law.reference(u, at), at)[:, 1:].view(v.shape)


def defect(domain: Domain, v: Tensor, **options: tuple[str, ...]) -> Tensor:
    """Of a velocity (B, D, *X) or (D, *X)."""
    rows = v if v.ndim == 2 + len(domain.shape) else v[None]
    u, at, law = torch.cat([rows[:, :1], rows], 1), conditions(domain, len(rows)), law_of(domain, **options)
    return law.defect(u, law.reference(u, at), at)


def projection_laws(domain: Domain, *, rounding: float = 1e-14, symmetric: bool = True, **options: tuple[str, ...]) -> None:
    """A constraint that is a linear projection, orthogonal in the measure, with derivatives that are itself, of any type and storage."""
    law, u, w, at = law_of(domain, **options), noise(domain), noise(domain, seed=1), conditions(domain, 2)
    with torch.inference_mode():  # what is made for it must be fit for training too
        law(u, law.reference(u, at), at)
        law.defect(u, law.reference(u, at), at)
    if domain.members == 1:
        constraint_laws(law, u, at, rounding=rounding)
    reference = law.reference(u, at)
    assert reference.shape == (2 * domain.members, law.references) and law.references == 0
    held, other = law(u, reference, at), law(w, reference, at)
    assert (law.defect(u, reference, at) > 0.1).all() and (law.defect(held, reference, at) < rounding).all()
    torch.testing.assert_close(law(held, reference, at), held, rtol=0, atol=10 * rounding)
    assert torch.equal(held[:, 0], u[:, 0]), "another channel was touched"
    torch.testing.assert_close(law(3 * u - w, reference, at), 3 * held - other, rtol=0, atol=10 * rounding)
    if symmetric:
        size = domain.integral(u.square()).sum()
        assert abs((domain.integral(held * w) - domain.integral(u * other)).sum()) < rounding * size
    v = u[:1].requires_grad_()
    first = at.rows(torch.arange(domain.members))
    assert torch.autograd.gradcheck(lambda v: law(v, reference[: domain.members], first), (v,), fast_mode=True)
    assert torch.autograd.gradcheck(lambda v: law.defect(v, reference[: domain.members], first), (v,), fast_mode=True)
    _, along = torch.func.jvp(lambda v: law(v, reference, at), (w,), (held,))
    torch.testing.assert_close(along, held, rtol=0, atol=10 * rounding)
    single = law(u.detach().float(), reference, at)
    assert single.dtype == torch.float32 and (law.defect(single, reference, at) < 1e-6).all()
    again = construct(json.loads(json.dumps(describe(law))))
    assert torch.equal(again(u, reference, at), held)


def nearest(u: Tensor, divergence: Tensor, measure: Tensor) -> Tensor:
    """The point v with divergence @ v = 0 that minimises sum of measure (v - u)^2, all dense: u - M^-1 D^T (D M^-1 D^T)^+ D u."""
    weighted = divergence / measure
    return u - weighted.T @ (torch.linalg.pinv(weighted @ divergence.T, rtol=1e-10, hermitian=True) @ (divergence @ u))


def matrix(f, shape: tuple[int, ...]) -> Tensor:  # type: ignore[no-untyped-def]
    """The matrix of a linear map of fields of this shape (without a batch)."""
    count = torch.Size(shape).numel()
    units = torch.eye(count, dtype=torch.float64).view(count, *shape)
    return f(units).reshape(count, -1).T
