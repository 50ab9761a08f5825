"""OpenFOAM cases, read by ourselves: the grammar of their files, their meshes, fields and parallel folders. Nothing in them is executed.

    source      bytes: a memory map, or what a .gz holds          tokens      bytes -> words, numbers, strings
    grammar     entries, macros resolved, # refused               dictionary  keyword -> value
    header      class, format, byte order, widths                 lists       List<vector> and the like, ASCII and binary, by NumPy
    polymesh    points, faces, owners                             patches     the boundary
    geometry    areas, volumes, centres, by OpenFOAM's formulas   units       [0 1 -1 0 0 0 0] -> "m s-1"
    field       one field at one time, its values on patches      case        times, fields, parameters
    parallel    processor folders as one                          properties  nu and the like
    cells, points, grid     the mesh as a domain of ours          places, frames    values there, lazily

Source: OpenFOAM User Guide v1912, 4 "OpenFOAM cases", https://www.openfoam.com/documentation/user-guide, and what its programs write.
"""

from surrogates.data.foam.case import Case
from surrogates.data.foam.dictionary import Dictionary
from surrogates.data.foam.field import Field
from surrogates.data.foam.grammar import parse_dictionary
from surrogates.data.foam.patches import Patch
from surrogates.data.foam.polymesh import PolyMesh

__all__ = ["Case", "Dictionary", "Field", "Patch", "PolyMesh", "parse_dictionary"]
