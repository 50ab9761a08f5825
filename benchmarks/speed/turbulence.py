"""Speed of the solver of isotropic turbulence: beside a straightforward one, and beside its own transforms.

    python benchmarks/speed/turbulence.py [--seconds 6] [--sizes 32 64]

The straightforward one is what papers write down: whole complex-to-real transforms of n^3, the nonlinear term as u x w (six transforms to
the grid, three back), the same ETDRK4 coefficients and the same modes. Answers are compared first. One thread, processor time, one row.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from math import pi
from time import process_time

import torch
from timing import machine, race, table
from torch import Tensor

from surrogates.contracts import Conditions
from surrogates.domains import Box
from surrogates.pde import IsotropicTurbulence, space

DT, NU = 0.01, 0.02
DIMS = (-3, -2, -1)


def straightforward(box: Box) -> Callable[[Tensor], Tensor]:
    """P(u x w) of an rfftn spectrum (B, 3, n, n, n/2+1), 2/3 rule, without forcing."""
    n = box.shape[0]
    k = torch.stack(torch.broadcast_tensors(*box.wavenumbers(derivative=True))).to(torch.complex128)
    k2 = k.real.square().sum(0)
    inverse = torch.where(k2 > 0, 1 / torch.where(k2 > 0, k2, 1), 0)
    held = torch.stack(torch.broadcast_tensors(*(w.abs() <= (n - 1) // 3 for w in box.wavenumbers()))).all(0)

    def nonlinear(w: Tensor) -> Tensor:
        curl = 1j * torch.linalg.cross(k.expand_as(w), w, dim=1)
        u, omega = (torch.fft.irfftn(f, s=box.shape, dim=DIMS, norm="forward") for f in (w, curl))
        f = torch.fft.rfftn(torch.linalg.cross(u, omega, dim=1), dim=DIMS, norm="forward") * held
        return f - k * inverse * (k * f).sum(1, keepdim=True)

    return nonlinear


def contenders(n: int) -> dict[str, Callable[[], object]]:
    """One step of length DT of either solver, and the transforms of ours. Raises AssertionError where the answers differ."""
    box, one = Box.periodic((n, n, n), 2 * pi), torch.ones(1, dtype=torch.float64)
    step = IsotropicTurbulence(max_dt=DT, viscosity=NU, forcing=0.0)
    conditions = Conditions(box, 0 * one, DT * one, torch.zeros(1, 0, dtype=torch.float64))
    w = step.begin(step.initial(box, [0], 0)[:, None], conditions)["spectrum"]
    (plan,) = step.plan(conditions, box, w)
    k2 = sum(v.square() for v in box.wavenumbers())
    assert isinstance(k2, torch.Tensor)
    advance, slow = step.scheme((-NU * k2).expand(1, 3, -1, -1, -1), DT * one, w.dtype), straightforward(box)
    full = torch.fft.rfftn(space.synthesise(w, box.shape), dim=DIMS, norm="forward")

    def transforms() -> None:
        for _ in range(4):
            grid = space.to_grid(w, box.shape)
            space.of_grid(torch.cat([grid, grid[:, :2]], 1), space.carried(w))

    found, other = space.synthesise(plan.advance(w, plan.nonlinear), box.shape), advance(full, slow)
    torch.testing.assert_close(found, torch.fft.irfftn(other, s=box.shape, dim=DIMS, norm="forward"), rtol=0, atol=1e-12)
    return {"straightforward": lambda: advance(full, slow), "ours": lambda: plan.advance(w, plan.nonlinear), "transforms": transforms}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 64])
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(machine())
    rows: list[tuple[object, ...]] = []
    for n in options.sizes:
        found = race(contenders(n), seconds=options.seconds, rounds=(3, 500), clock=process_time)
        steps = [f"{1 / found.median(name):.2f}" for name in ("ours", "straightforward")]
        rows.append((f"{n}^3", *steps, f"{found.ratio('straightforward', 'ours'):.2f}", f"{found.ratio('transforms', 'ours'):.2f}"))
    table("ETDRK4, float64, one row", ("grid", "ours, steps/s", "straightforward", "ratio", "transforms / ours"), rows)


if __name__ == "__main__":
    main()
