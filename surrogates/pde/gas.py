"""An ideal gas in the plane: what is conserved, what is felt, what flows through a face.

    q = (rho, rho u, rho v, E),    w = (rho, u, v, p),    E = p/(gamma - 1) + rho (u^2 + v^2)/2,    c^2 = gamma p/rho
    F = (rho u, rho u^2 + p, rho u v, (E + p) u)       across a face whose normal is the first component

Between two states the solution of the Riemann problem is taken to be two constant states apart by a contact of speed s (HLLC):

    s = (p_R - p_L + rho_L u_L (S_L - u_L) - rho_R u_R (S_R - u_R)) / (rho_L (S_L - u_L) - rho_R (S_R - u_R))
    q*_K = rho_K (S_K - u_K)/(S_K - s) (1, s, v_K, E_K/rho_K + (s - u_K)(s + p_K/(rho_K (S_K - u_K))))

and the flux is F_K + S_K (q*_K - q_K) on the side of the contact where the face lies, F_K where both waves have left it. S_L and S_R are
the slower and faster of the sides' own acoustic speeds and those of Roe's mean: first-order steps then keep density and pressure
positive, and contacts and shear at rest stay sharp.

Sources: Toro, Spruce and Speares, Shock Waves 4 (1994) 25, https://doi.org/10.1007/BF01414629; the speeds, Batten, Clarke, Lambert and
Causon, SIAM J. Sci. Comput. 18 (1997) 1553, https://doi.org/10.1137/S1064827593260140.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

Gas = Float[Tensor, "B 4 *X"]
Ratio = Float[Tensor, "R 1 1"]  # gamma, a row each


def primitive(q: Gas, gamma: Ratio) -> Gas:
    """Density, velocity and pressure."""
    rho, u, v = q[:, 0], q[:, 1] / q[:, 0], q[:, 2] / q[:, 0]
    return torch.stack([rho, u, v, (gamma - 1) * (q[:, 3] - rho * (u * u + v * v) / 2)], 1)


def conserved(w: Gas, gamma: Ratio) -> Gas:
    """Density, momentum and total energy, all per volume."""
    rho, u, v, p = w.unbind(1)
    return torch.stack([rho, rho * u, rho * v, p / (gamma - 1) + rho * (u * u + v * v) / 2], 1)


def sound(w: Gas, gamma: Ratio) -> Float[Tensor, "B X Y"]:
    """The speed of sound."""
    return (gamma * w[:, 3] / w[:, 0]).sqrt()


def hllc(left: Gas, right: Gas, gamma: Ratio) -> Gas:
    """The flux through faces with these primitive states on their sides; u is normal to them."""
    q_left, q_right = conserved(left, gamma), conserved(right, gamma)
    slow, fast = speeds(left, right, q_left, q_right, gamma)
    (rho_l, u_l, _, p_l), (rho_r, u_r, _, p_r) = left.unbind(1), right.unbind(1)
    in_l, in_r = rho_l * (slow - u_l), rho_r * (fast - u_r)
    contact = (p_r - p_l + in_l * u_l - in_r * u_r) / (in_l - in_r)
    from_left = side(left, q_left, slow.clamp_max(0), in_l, slow, contact)
    from_right = side(right, q_right, fast.clamp_min(0), in_r, fast, contact)
    return torch.where((contact >= 0)[:, None], from_left, from_right)


def side(w: Gas, q: Gas, reached: Tensor, inflow: Tensor, wave: Tensor, contact: Tensor) -> Gas:
    """The flux on one side of the contact: `reached` is the wave's speed where it runs over the face, else 0."""
    rho, u, v, p = w.unbind(1)
    flux = torch.stack([rho * u, rho * u * u + p, rho * u * v, (q[:, 3] + p) * u], 1)
    energy = q[:, 3] / rho + (contact - u) * (contact + p / inflow)
    star = (inflow / (wave - contact))[:, None] * torch.stack([torch.ones_like(u), contact, v, energy], 1)
    return flux + reached[:, None] * (star - q)


def speeds(left: Gas, right: Gas, q_left: Gas, q_right: Gas, gamma: Ratio) -> tuple[Tensor, Tensor]:
    """Those of the slowest and of the fastest wave."""
    root_l, root_r = left[:, 0].sqrt(), right[:, 0].sqrt()
    share = root_l / (root_l + root_r)
    h_l, h_r = ((q[:, 3] + w[:, 3]) / w[:, 0] for q, w in ((q_left, left), (q_right, right)))
    u, v, h = (share * a + (1 - share) * b for a, b in ((left[:, 1], right[:, 1]), (left[:, 2], right[:, 2]), (h_l, h_r)))
    c = ((gamma - 1) * (h - (u * u + v * v) / 2)).sqrt()
    return torch.minimum(left[:, 1] - sound(left, gamma), u - c), torch.maximum(right[:, 1] + sound(right, gamma), u + c)
