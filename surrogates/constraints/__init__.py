"""Laws that a field must hold, one a file: what they ask for, by how much it is missed, and the nearest field that obeys."""

from surrogates.constraints.alternating import Alternating
from surrogates.constraints.boundary_values import BoundaryValues
from surrogates.constraints.bounds import BoundedIntegral, Clipped, Reflected
from surrogates.constraints.compose import InOrder, Law, remaining
from surrogates.constraints.divergence import DivergenceFree
from surrogates.constraints.dykstra import Dykstra
from surrogates.constraints.energy import EnergyBand, EnergyBudget
from surrogates.constraints.fluxes import FluxedIntegral, OpenIntegral
from surrogates.constraints.functional import LinearFunctionals
from surrogates.constraints.held_boundary import HeldBoundary
from surrogates.constraints.integral import ConservedIntegral
from surrogates.constraints.lateral import LateralBoundaries
from surrogates.constraints.multiplicative import ScaledIntegral
from surrogates.constraints.nonlinear import GaussNewton
from surrogates.constraints.observables import Observable, Through, Within
from surrogates.constraints.quantities import Energy, Enstrophy, Function, Product, Total
from surrogates.constraints.soft import Soft
from surrogates.constraints.straight_through import StraightThrough
from surrogates.constraints.switch import constrained
from surrogates.constraints.weighted import WeightedFunctionals

__all__ = [
    "Alternating",
    "BoundaryValues",
    "BoundedIntegral",
    "Clipped",
    "ConservedIntegral",
    "DivergenceFree",
    "Dykstra",
    "Energy",
    "EnergyBand",
    "EnergyBudget",
    "Enstrophy",
    "FluxedIntegral",
    "Function",
    "GaussNewton",
    "HeldBoundary",
    "InOrder",
    "LateralBoundaries",
    "Law",
    "LinearFunctionals",
    "Observable",
    "OpenIntegral",
    "Product",
    "Reflected",
    "ScaledIntegral",
    "Soft",
    "StraightThrough",
    "Through",
    "Total",
    "WeightedFunctionals",
    "Within",
    "constrained",
    "remaining",
]
