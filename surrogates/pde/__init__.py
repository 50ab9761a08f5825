"""Truth solvers and classical baselines, one equation a file; every one is a `Step`."""

from surrogates.pde.etd import etdrk2, etdrk4
from surrogates.pde.kolmogorov import Kolmogorov
from surrogates.pde.spectral import Spectral

__all__ = ["Kolmogorov", "Spectral", "etdrk2", "etdrk4"]
