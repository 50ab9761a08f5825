"""Heads: laws that hold by construction, one a file; what a network gives becomes the next state in place of `decode`."""

from surrogates.heads.flux_form import FluxForm
from surrogates.heads.side_by_side import SideBySide
from surrogates.heads.stream_function import StreamFunction
from surrogates.heads.vector_potential import VectorPotential

__all__ = ["FluxForm", "SideBySide", "StreamFunction", "VectorPotential"]
