"""Laws that a field must hold, one a file: what they ask for, by how much it is missed, and the nearest field that obeys."""

from surrogates.constraints.compose import InOrder, Law
from surrogates.constraints.divergence import DivergenceFree
from surrogates.constraints.integral import ConservedIntegral

__all__ = ["ConservedIntegral", "DivergenceFree", "InOrder", "Law"]
