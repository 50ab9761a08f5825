"""What the equations say about integrals over the domain, frame by frame; all float64, shape (B, T) or (B, T, K).

Kolmogorov flow, u_t + u . grad u = -grad p + nu lap u - mu u + f, f = (A sin k y, 0), per unit area:

    mean flow    dU/dt = -mu U                                  (f has no mean)
    energy       dE/dt = <f . u> - 2 nu Z - 2 mu E              E = <|u|^2>/2, Z = <w^2>/2

Rotating shallow water, h_t + div(h u) = 0, u_t + (zeta + f) k x u + grad(g h + |u|^2/2) = hyperdiffusion:

    mass         M = integral h                                  dM/dt = 0
    energy       E = integral (h |u|^2 + g h^2)/2                dE/dt = -dissipation of the hyperdiffusion
    momentum     L = integral h (u + Omega a cos phi) a cos phi  dL/dt = 0: of a zonally symmetric planet
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from surrogates.contracts import Conditions
from surrogates.domains import Box, Sphere
from surrogates.metrics import shell_spectrum

Series = dict[str, Tensor]


def kolmogorov(u: Tensor, conditions: Conditions) -> Series:
    """u: (B, T, 2, x, y) -> the budgets above, the divergence (rms over that of the gradient) and the spectrum (B, T, K)."""
    box = conditions.domain
    assert isinstance(box, Box)
    rows, frames = u.shape[:2]
    v = u.double().flatten(0, 1)
    nu, mu, amplitude, waves = (float(conditions.parameter(n)[0]) for n in ("viscosity", "drag", "forcing", "wavenumber"))
    y = box.coordinate(1).double()
    force = amplitude * torch.sin(2 * math.pi * waves / box.lengths[1] * y)
    gradient = torch.stack([box.derivative(v, axis) for axis in range(2)], 2)
    vorticity, divergence = gradient[:, 1, 0] - gradient[:, 0, 1], gradient[:, 0, 0] + gradient[:, 1, 1]
    mean = v.mean((2, 3))
    energy, enstrophy = v.square().sum(1).mean((1, 2)) / 2, vorticity.square().mean((1, 2)) / 2
    power = (v[:, 0] * force).mean((1, 2))
    found = {
        "mean flow x": mean[:, 0],
        "mean flow y": mean[:, 1],
        "energy": energy,
        "enstrophy": enstrophy,
        "input": power,
        "imbalance": power - 2 * nu * enstrophy - 2 * mu * energy,
        "divergence": divergence.square().mean((1, 2)).sqrt() / gradient.square().sum((1, 2)).mean((1, 2)).sqrt(),
    }
    spectra = shell_spectrum(u.double(), box).sum(2)
    return {k: q.reshape(rows, frames) for k, q in found.items()} | {"spectrum": spectra}


def shallow_water(u: Tensor, conditions: Conditions) -> Series:
    """u: (B, T, 3, lat, lon) of height, northward and eastward velocity -> mass, energy, momentum, per unit area of the sphere."""
    sphere = conditions.domain
    assert isinstance(sphere, Sphere)
    rows, frames = u.shape[:2]
    gravity, rotation = (float(conditions.parameter(n)[0]) for n in ("gravity", "rotation"))
    h, north, east = u.double().flatten(0, 1).unbind(1)
    arm = torch.cos(torch.deg2rad(sphere.coordinate(0).double()))[:, None] * sphere.radius
    kinetic = h * (east.square() + north.square()) / 2
    found = {
        "mass": h,
        "energy": kinetic + gravity * h.square() / 2,
        "kinetic energy": kinetic,
        "momentum": h * (east + rotation * arm) * arm,
    }
    return {k: sphere.average(q[:, None])[:, 0].reshape(rows, frames) for k, q in found.items()}


def mean_flow_misfit(series: Mapping[str, Tensor], rate: float, dt: float) -> float:
    """rms over frames of U[n+1] - exp(-mu dt) U[n], over dt, in units of the forcing's amplitude of one: an acceleration that nothing
    causes."""
    keep = math.exp(-rate * dt)
    parts = [(series[f"mean flow {a}"][:, 1:] - keep * series[f"mean flow {a}"][:, :-1]) / dt for a in "xy"]
    return float(torch.stack(parts).square().sum(0).mean().sqrt())


def growth_misfit(series: Mapping[str, Tensor], dt: float) -> float:
    """rms of (E[n+1] - E[n])/dt less the mean of its sources at both ends, over the mean input: whether each step obeys the balance, to the
    second order of the trapezium."""
    change = series["energy"].diff(dim=1) / dt
    sources = (series["imbalance"][:, 1:] + series["imbalance"][:, :-1]) / 2
    return float((change - sources).square().mean().sqrt() / series["input"].mean().abs())


def wasserstein(a: Tensor, b: Tensor, levels: int = 999) -> float:
    """Between two samples of one number, over the deviation of the second."""
    q = (torch.arange(levels, dtype=torch.float64) + 0.5) / levels
    x, y = (torch.quantile(v.double().flatten()[:: max(1, v.numel() // 1_000_000)], q) for v in (a, b))
    return float((x - y).abs().mean() / b.double().std())
