"""Laws that a field must hold, one a file: what they ask for, by how much it is missed, and the nearest field that obeys."""

from surrogates.constraints.boundary_values import BoundaryValues
from surrogates.constraints.bounds import BoundedIntegral, Clipped, Reflected
from surrogates.constraints.compose import InOrder, Law
from surrogates.constraints.divergence import DivergenceFree
from surrogates.constraints.energy import EnergyBand, EnergyBudget
from surrogates.constraints.fluxes import FluxedIntegral, OpenIntegral
from surrogates.constraints.functional import LinearFunctionals
from surrogates.constraints.integral import ConservedIntegral
from surrogates.constraints.lateral import LateralBoundaries
from surrogates.constraints.multiplicative import ScaledIntegral
from surrogates.constraints.observables import Observable, Through, Within
from surrogates.constraints.straight_through import StraightThrough
from surrogates.constraints.weighted import WeightedFunctionals

__all__ = [
    "BoundaryValues",
    "BoundedIntegral",
    "Clipped",
    "ConservedIntegral",
    "DivergenceFree",
    "EnergyBand",
    "EnergyBudget",
    "FluxedIntegral",
    "InOrder",
    "LateralBoundaries",
    "Law",
    "LinearFunctionals",
    "Observable",
    "OpenIntegral",
    "Reflected",
    "ScaledIntegral",
    "StraightThrough",
    "Through",
    "WeightedFunctionals",
    "Within",
]
