"""Data sets whose trajectories a CFD code makes: OpenFOAM on meshes of gmsh or of its own, one case a trajectory.

    recipe        what is drawn for each case, and from where           outline, channel    geometries and what is solved on them
    dictionary    OpenFOAM's files, from numbers                        programs, runs      run side by side, resumed, named where they fail
    history       logs, forces, Strouhal numbers                        keep                into files of ours
    forces        drag and lift from cells, of data and of forecasts
    again, scattered    a case from a stored frame, on another mesh     certificate     for how long the truth is one

Contract of a kind of recipe: `load`, `sizes`, `make` (`surrogates.data.kinds`).
"""

from surrogates.data.cases.certificate import certify, read_certificate
from surrogates.data.cases.forces import Wall, coefficients
from surrogates.data.cases.history import strouhal
from surrogates.data.cases.keep import tables_of
from surrogates.data.cases.recipe import CaseRecipe, load, sizes
from surrogates.data.cases.runs import make

__all__ = ["CaseRecipe", "Wall", "certify", "coefficients", "load", "make", "read_certificate", "sizes", "strouhal", "tables_of"]
