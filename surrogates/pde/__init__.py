"""Truth solvers and classical baselines, one equation a file; every one is a `Step`."""

from surrogates.pde.barotropic_jet import BarotropicJet
from surrogates.pde.baselines import Climatology, Persistence
from surrogates.pde.burgers import Burgers
from surrogates.pde.channel import Channel
from surrogates.pde.compressible import Compressible
from surrogates.pde.crank_nicolson import rk4_crank_nicolson
from surrogates.pde.darcy import ConDiff, Darcy
from surrogates.pde.etd import etdrk2, etdrk4
from surrogates.pde.filtered_turbulence import FilteredTurbulence
from surrogates.pde.fno_navier_stokes import FnoNavierStokes
from surrogates.pde.forced_burgers import ForcedBurgers
from surrogates.pde.gray_scott import GrayScott
from surrogates.pde.kdv import KdV
from surrogates.pde.kelvin_helmholtz import KelvinHelmholtz
from surrogates.pde.kolmogorov import Kolmogorov
from surrogates.pde.kuramoto_sivashinsky import KuramotoSivashinsky
from surrogates.pde.linear import Advection, Wave
from surrogates.pde.lyapunov import lyapunov_exponent, turnover_time
from surrogates.pde.mp_pde import MessagePassingPDE
from surrogates.pde.passive_scalar import PassiveScalar
from surrogates.pde.porous_medium import PorousMedium
from surrogates.pde.rayleigh_benard import RayleighBenard
from surrogates.pde.richtmyer_meshkov import RichtmyerMeshkov
from surrogates.pde.riemann2d import Riemann2d
from surrogates.pde.shallow_water import ShallowWater
from surrogates.pde.spectral import Spectral
from surrogates.pde.stefan import Stefan
from surrogates.pde.turbulence import IsotropicTurbulence
from surrogates.pde.wave_medium import WaveMedium

__all__ = [
    "Advection",
    "BarotropicJet",
    "Burgers",
    "Channel",
    "Climatology",
    "Compressible",
    "ConDiff",
    "Darcy",
    "FilteredTurbulence",
    "FnoNavierStokes",
    "ForcedBurgers",
    "GrayScott",
    "IsotropicTurbulence",
    "KdV",
    "KelvinHelmholtz",
    "Kolmogorov",
    "KuramotoSivashinsky",
    "MessagePassingPDE",
    "PassiveScalar",
    "Persistence",
    "PorousMedium",
    "RayleighBenard",
    "RichtmyerMeshkov",
    "Riemann2d",
    "ShallowWater",
    "Spectral",
    "Stefan",
    "Wave",
    "WaveMedium",
    "etdrk2",
    "etdrk4",
    "lyapunov_exponent",
    "rk4_crank_nicolson",
    "turnover_time",
]
