"""Nonlinear laws h(u) = 0 by Gauss and Newton's method, in the norm of the domain: |u|^2 = the integral of sum_c u_c^2 / scale_c^2.

With M that norm's matrix and J = dh/du at the present u,

    u <- u - M^-1 J^T (J M^-1 J^T + eps)^-1 h(u)

until every |h| is at most `tolerance`: quadratic convergence. Each step goes to the nearest point of the law made linear; the whole of
them ends in the nearest field for one quantity that grows along rays, as energy does, and else in one as near but for the square of the
defect. J is never formed: its K rows are K pullbacks in one batch, exact by automatic differentiation, and what is solved is K by K for
each member, float64. Source: Utkarsh et al., "Physics-constrained flow matching", 2025, section 3, https://arxiv.org/abs/2506.04171, there
with M = 1, whose correction depends on the grid.

Members that have arrived stay as they are. What was not reached is told: by `reach`, by `remaining` and by one warning.

Gradients go through the iterations (unrolled), and through one more step that has no value, stop(u) + (step(u) - stop(step(u))): where u
holds the law already the derivative is that of the projection, I - M^-1 J^T (J M^-1 J^T)^-1 J, rather than one.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.constraints.alternating import Reached
from surrogates.constraints.compose import none, where
from surrogates.constraints.quantities import Function, Quantity
from surrogates.contracts import Conditions, Domain
from surrogates.domains.ends import check_closed
from surrogates.fields import Fields
from surrogates.record import recorded

TINY = 1e-200
"""Squares of gradients below this are none: the quantity does not feel u there."""


@recorded
class GaussNewton:
    """`quantities` keep their values, or vanish, by moving the fields `move` (all, unless given); other channels come back as they went in.

    `scales` say how much of one field's units weighs as much as of another's, one number for each field that moves: fields of different
    units have no common norm without. Raises KeyError for unknown fields, and ValueError without quantities, for several fields without
    scales, for scales, tolerance or iterations that are not positive, and when called for other channels than those of `fields`.
    """

    def __init__(
        self,
        fields: Fields,
        quantities: tuple[Quantity, ...],
        *,
        move: tuple[str, ...] = (),
        scales: tuple[float, ...] = (),
        tolerance: float = 1e-13,
        iterations: int = 20,
        eps: float = 1e-12,
    ) -> None:
        if not quantities:
            raise ValueError("GaussNewton needs at least one quantity, such as GaussNewton(fields, (Energy('velocity'),))")
        move = tuple(move) or fields.names
        if not scales and len({fields[n].units for n in move}) > 1:
            raise ValueError(f"{move} have different units and no common norm; give scales=(...), one typical size a field, or move one")
        sizes = tuple(scales) or (1.0,) * len(move)
        if len(sizes) != len(move) or not all(s > 0 for s in sizes):
            raise ValueError(f"scales are {scales} but must be {len(move)} positive numbers, one for each of {move}")
        if iterations < 1 or not tolerance > 0 or not eps >= 0:
            raise ValueError(f"expected iterations >= 1, tolerance > 0 and eps >= 0, got {iterations}, {tolerance} and {eps}")
        self.fields, self.quantities = fields, tuple(quantities)
        self.tolerance, self.iterations, self.eps = tolerance, iterations, eps
        slices = [fields.slice(name) for name in move]
        self.moved = [c for s in slices for c in range(s.start, s.stop)]
        self.units = [size for s, size in zip(slices, sizes, strict=True) for _ in range(s.start, s.stop)]
        self.counts = tuple(q.count(fields) for q in self.quantities)
        self.references = sum(k for q, k in zip(self.quantities, self.counts, strict=True) if q.remembered)

    def reference(self, u: Float[Tensor, "B C *X"], conditions: Conditions) -> Float[Tensor, "G R"]:
        """The values that are remembered, float64."""
        self._check(u)
        totals = [type(q).__name__ for q in self.quantities if q.remembered and not isinstance(q, Function)]
        if totals:
            what = f"GaussNewton keeps {', '.join(totals)} as in the initial state"
            check_closed(
                conditions.domain, what, "leave them out; ConservedIntegral(..., inflow=True) holds an integral with what flows in"
            )
        v = u.double()
        kept = [q(v, self.fields, conditions) for q in self.quantities if q.remembered]
        nothing = torch.zeros(len(u) * conditions.domain.members, 0, dtype=torch.float64, device=u.device)
        return torch.cat([nothing, *kept], dim=1)

    def advance(self, reference: Float[Tensor, "G R"], u: Float[Tensor, "B C *X"], conditions: Conditions) -> Float[Tensor, "G R"]:
        return reference

    def defect(self, u: Float[Tensor, "B C *X"], reference: Float[Tensor, "G R"], conditions: Conditions) -> Float[Tensor, "G K"]:
        """(q(u) - q_0) / max(scale(u), |q_0|): signed, dimensionless, float64."""
        self._check(u)
        v = u.double()
        return self._excess(v, self._wanted(reference), conditions) / self._size(v, reference, conditions)

    def __call__(
        self,
        u: Float[Tensor, "B C *X"],
        reference: Float[Tensor, "G R"],
        conditions: Conditions,
        past: Float[Tensor, "B H C *X"] | None = None,
    ) -> Float[Tensor, "B C *X"]:
        """A field that holds the law, near u; rounded once, to the type of u. Warns once where the tolerance was not reached."""
        found = self.reach(u, reference, conditions)
        if found.u.device.type == "cpu" and not torch.compiler.is_compiling():
            worst = found.defect.detach().abs().max()
            if bool(worst > self.tolerance):
                warnings.warn(
                    f"GaussNewton on {[type(q).__name__ for q in self.quantities]} left members short of the tolerance {self.tolerance:g} "
                    f"after {self.iterations} iterations; `reach` and `remaining` tell which, and by how much",
                    stacklevel=2,
                )
        index = torch.tensor(self.moved, device=u.device)
        return u.index_copy(1, index, found.u[:, self.moved].to(u.dtype))

    def reach(self, u: Float[Tensor, "B C *X"], reference: Float[Tensor, "G R"], conditions: Conditions) -> Reached:
        """The field in float64, the defects that remain, and the iterations that were made (by any member)."""
        self._check(u)
        grad = torch.is_grad_enabled()
        with outside_inference():
            u, reference, conditions = ordinary(u), ordinary(reference), ordinary_conditions(conditions)
            w = u.double()
            for made in range(self.iterations + 1):
                new, left = self._step(w, reference, conditions)
                on = left.detach().abs().amax(1) > self.tolerance
                if made == self.iterations or none(on, made):
                    break
                w = where(on, new, w, conditions.domain)
            return Reached(w.detach() + (new - new.detach()) if grad else w, left, made)

    def _step(self, w: Tensor, reference: Tensor, conditions: Conditions) -> tuple[Tensor, Float[Tensor, "G K"]]:
        """The next iterate, and the defects of this one."""
        domain, wanted = conditions.domain, self._wanted(reference)
        size = self._size(w, reference, conditions).detach()
        left, pull = torch.func.vjp(lambda v: self._excess(v, wanted, conditions) / size, w)  # type: ignore[misc]
        each = torch.eye(left.shape[1], dtype=left.dtype, device=left.device)[:, None].expand(-1, len(left), -1)
        (gradients,) = torch.func.vmap(pull)(each)
        measure = domain.measure.to(w)
        unit = torch.tensor(self.units, dtype=w.dtype, device=w.device).reshape(-1, *(1,) * (w.ndim - 2))
        normals = gradients[:, :, self.moved] * torch.where(measure > 0, unit / measure, 0.0)  # (K, B, Cm, *X), steepest in the norm
        gram = torch.stack([projections(normals, n, domain) for n in normals], dim=2)
        force = damped_solve(gram, left, self.eps)
        change = torch.stack([domain.expand(f[:, None]) * n for f, n in zip(force.unbind(1), normals, strict=True)]).sum(0)
        index = torch.tensor(self.moved, device=w.device)
        return w.index_add(1, index, -unit * change), left

    def _excess(self, v: Tensor, wanted: Sequence[Tensor | None], conditions: Conditions) -> Float[Tensor, "G K"]:
        values = [q(v, self.fields, conditions) for q in self.quantities]
        return torch.cat([q if r is None else q - r for q, r in zip(values, wanted, strict=True)], dim=1)

    def _size(self, v: Tensor, reference: Tensor, conditions: Conditions) -> Float[Tensor, "G K"]:
        parts = []
        for q, r in zip(self.quantities, self._wanted(reference), strict=True):
            scale = q.scale(v, self.fields, conditions)
            parts.append(scale if r is None else torch.maximum(scale, r.abs()))
        return torch.cat(parts, dim=1).clamp_min(1e-300)

    def _wanted(self, reference: Tensor) -> list[Tensor | None]:
        """The values asked of each quantity; None: zero."""
        if reference.shape[1] != self.references:
            raise ValueError(f"{reference.shape[1]} references but this law keeps {self.references}; make it with reference(u, conditions)")
        kept = iter(torch.split(reference, [k for q, k in zip(self.quantities, self.counts, strict=True) if q.remembered], dim=1))
        return [next(kept) if q.remembered else None for q in self.quantities]

    def _check(self, u: Tensor) -> None:
        if u.shape[1] != self.fields.count:
            raise ValueError(f"u has {u.shape[1]} channels but this law was made for {self.fields.count}; make it from the fields of u")


def projections(normals: Float[Tensor, "K B C *X"], u: Float[Tensor, "B C *X"], domain: Domain) -> Float[Tensor, "G K"]:
    """The inner product of u with each normal, under the domain's measure."""
    return domain.integral((normals * u).sum(2).movedim(0, 1)).reshape(-1, len(normals))


def damped_solve(gram: Float[Tensor, "G K K"], short: Float[Tensor, "G K"], eps: float) -> Float[Tensor, "G K"]:
    """(gram + eps)^-1 short for unit diagonals: rows are made of size one first, so that eps has no units."""
    diagonal = gram.diagonal(dim1=1, dim2=2)
    size = torch.where(diagonal > TINY, diagonal, 1.0).sqrt()
    unit = gram / (size[:, :, None] * size[:, None, :])
    damped = unit + eps * torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device) + torch.diag_embed((diagonal <= TINY).to(gram))
    solution: Tensor = torch.linalg.solve_ex(damped, (short / size)[:, :, None])[0][:, :, 0]  # no check, which would stall a device
    return solution / size


@contextmanager
def outside_inference() -> Iterator[None]:
    """Automatic differentiation under inference mode too; nothing is tracked there."""
    if not torch.is_inference_mode_enabled():
        yield
        return
    with torch.inference_mode(False), torch.no_grad():
        yield


def ordinary(u: Tensor) -> Tensor:
    """u, as a tensor that autograd takes: what inference mode made is copied."""
    return u.clone() if u.is_inference() else u


def ordinary_conditions(conditions: Conditions) -> Conditions:
    """The same, for all tensors of the conditions."""
    static = None if conditions.static is None else ordinary(conditions.static)
    time, dt, parameters = (ordinary(v) for v in (conditions.time, conditions.dt, conditions.parameters))
    return replace(conditions, time=time, dt=dt, parameters=parameters, static=static)
