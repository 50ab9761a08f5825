"""Linear functionals L_k(u) = integral of w_k . u with fixed weights w_k, all held at once.

With A_kl = integral of w_k . s_l the nearest field that has L(u) = b is

    u + sum_k s_k lambda_k,    A lambda = b - L(u),

s_k = w_k in the norm of the domain's measure, and s_k = the covariance applied to w_k in another (`weighted`). The budgets b follow
`budget`, with the functionals of the forcing as their source. Source: Hansen et al., Learning Physical Models that Can Respect
Conservation Laws, 2023, equation 7, https://arxiv.org/abs/2302.11002.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.constraints import budget
from surrogates.constraints.channels import Channels
from surrogates.constraints.observables import Functional
from surrogates.contracts import Conditions, Domain
from surrogates.domains.kept import kept
from surrogates.fields import Fields
from surrogates.record import recorded

DEPENDENT = 1e-10
"""Least eigenvalue of the Gram matrix of unit functionals; with rounding of 1e-16 a solve then keeps six digits."""


class System(NamedTuple):
    """The functionals on one domain, float64."""

    weights: Float[Tensor, "K c *X"]
    spread: Float[Tensor, "K c *X"]  # s
    factor: Float[Tensor, "members K K"]  # the Cholesky factor of A
    norms: Float[Tensor, "members K"]  # sqrt(integral |w_k|^2)


@recorded
class LinearFunctionals:
    """All `functionals` of the fields follow their budgets; channels outside theirs come back as they went in.

    `decay` and `forced` as in ConservedIntegral. Raises ValueError without a functional, and, at the first call on a domain, where one
    is zero there or they depend on each other.
    """

    def __init__(self, fields: Fields, functionals: tuple[Functional, ...], *, decay: str | None = None, forced: bool = False) -> None:
        if not functionals:
            raise ValueError("LinearFunctionals needs at least one, such as (Within('mass', (0.0, 0.0), (1.0, 1.0)),)")
        self.fields, self.functionals = fields, tuple(functionals)
        self.channels = Channels.of(fields, *(f.field for f in self.functionals))
        self.decay, self.forced = decay, forced
        self.references = sum(f.count(fields) for f in self.functionals)

    def reference(self, u: Float[Tensor, "B C *X"], conditions: Conditions) -> Float[Tensor, "G R"]:
        """L(u), in units of the field times weight times volume, float64."""
        return self._values(self.channels.cut(u), conditions.domain)

    def advance(self, reference: Float[Tensor, "G R"], u: Float[Tensor, "B C *X"], conditions: Conditions) -> Float[Tensor, "G R"]:
        """The budgets one dt after `conditions.time`. They do not depend on u."""
        source = None
        if self.forced:
            term = budget.source_term(conditions)
            source = lambda t: self.reference(term(t).to(u.device), conditions)  # noqa: E731
        return budget.advance(reference, conditions, budget.rate(conditions, self.decay), source)

    def defect(self, u: Float[Tensor, "B C *X"], reference: Float[Tensor, "G R"], conditions: Conditions) -> Float[Tensor, "G K"]:
        """(L(u) - b) / max(||w|| ||u||, |b|), at most 2: signed, dimensionless, float64."""
        v, domain = self.channels.cut(u), conditions.domain
        norms = system(self, domain, u.device).norms.repeat(len(u), 1)
        size = domain.integral(v.double().square()).sum(1, keepdim=True).clamp_min(1e-300).sqrt()
        return (self._values(v, domain) - reference) / torch.maximum(norms * size, reference.abs())

    def __call__(
        self,
        u: Float[Tensor, "B C *X"],
        reference: Float[Tensor, "G R"],
        conditions: Conditions,
        past: Float[Tensor, "B H C *X"] | None = None,
    ) -> Float[Tensor, "B C *X"]:
        """The nearest field with L(u) = reference; solved in float64, rounded once to the type of u."""
        v, domain = self.channels.cut(u), conditions.domain
        found = system(self, domain, u.device)
        missing = (reference - self._values(v, domain))[:, :, None]
        strength = torch.cholesky_solve(missing, found.factor.repeat(len(u), 1, 1))[:, :, 0]
        return self.channels.put(u, v + torch.einsum("bk...,kc...->bc...", domain.expand(strength), found.spread))

    def spread(self, weights: Float[Tensor, "K c *X"], domain: Domain) -> Float[Tensor, "K c *X"]:
        """Where the correction goes: s of w."""
        return weights

    def _values(self, v: Float[Tensor, "B c *X"], domain: Domain) -> Float[Tensor, "G R"]:
        return domain.integral(torch.einsum("kc...,bc...->bk...", system(self, domain, v.device).weights, v.double()))


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def system(law: LinearFunctionals, domain: Domain, device: torch.device) -> System:
    """What a law needs of a domain, made once."""
    return _system(law, domain, device)  # type: ignore[arg-type]  # all domains can be hashed


@lru_cache(maxsize=32)
def _system(law: LinearFunctionals, domain: Domain, device: torch.device) -> System:
    with kept():
        w = torch.cat([f.weights(law.fields, domain).cpu() for f in law.functionals])
        w = w[:, law.channels.start : law.channels.stop]
        s = law.spread(w, domain)
        gram, plain = _products(w, s, domain), _products(w, w, domain)
        norms = plain.diagonal(dim1=1, dim2=2).sqrt()
        _check(law, gram, norms)
        return System(w.to(device), s.to(device), torch.linalg.cholesky(gram).to(device), norms.to(device))


def _products(w: Tensor, s: Tensor, domain: Domain) -> Float[Tensor, "members K K"]:
    k = len(w)
    return domain.integral(torch.einsum("kc...,lc...->kl...", w, s).flatten(0, 1)[None]).reshape(-1, k, k)


def _check(law: LinearFunctionals, gram: Float[Tensor, "members K K"], norms: Float[Tensor, "members K"]) -> None:
    names = [repr(f.field) for f in law.functionals for _ in range(f.count(law.fields))]
    if not bool((norms > 0).all()):
        member, k = (norms <= 0).nonzero()[0].tolist()
        raise ValueError(f"functional {k} (of {names[k]}) is zero on member {member} of this domain: no point lies where it looks")
    size = gram.diagonal(dim1=1, dim2=2).clamp_min(1e-300).sqrt()
    least = torch.linalg.eigvalsh(gram / (size[:, :, None] * size[:, None]))[:, 0].min()
    if not bool(least > DEPENDENT):
        raise ValueError(
            f"the functionals of {', '.join(names)} depend on each other here (least eigenvalue {float(least):.1e}): "
            "drop those that follow from the others, or give their variance where it is zero"
        )
