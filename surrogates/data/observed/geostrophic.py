"""The current that balances a sea level eta on the rotating Earth, northward and eastward:

    v = g/f d(eta)/dx        u = -g/f d(eta)/dy        f = 2 Omega sin(phi)

by second-order differences between wet cells, one-sided at coasts. It has no meaning near the equator, where f vanishes.

Source: A. Gill, Atmosphere-Ocean Dynamics (1982), section 7.6.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.domains import Masked, Patch, Sphere

GRAVITY, ROTATION = 9.80665, 7.292115e-5  # m s-2, s-1
NEAREST = 3.0  # degrees from the equator


def geostrophic(eta: Float[Tensor, "T 1 lat lon"], domain: Masked | Patch | Sphere) -> Float[Tensor, "T 2 lat lon"]:
    """eta in m -> velocity in m s-1, float64. Raises ValueError for a domain that comes near the equator."""
    phi = domain.coordinate(0)
    if float(phi.abs().min()) < NEAREST:
        raise ValueError(
            f"there is no geostrophic current within {NEAREST:g} degrees of the equator; this domain begins at {phi.abs().min():g}"
        )
    f = 2 * ROTATION * torch.deg2rad(phi).sin()[:, None]
    slope = domain.gradient(eta.double())
    return torch.cat([slope[:, 1:], -slope[:, :1]], 1) * (GRAVITY / f)
