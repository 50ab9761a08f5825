"""Truth by a recipe: random initial states, burn-in on a coarse grid, settling on the solver's own, then frames.

    equations    the equations that recipes name, and their solvers        advance    from initial states to frames
    told         what a solver is told of a trajectory                     work       how much there is to do

A trajectory is a function of (recipe, its id, the ids advanced with it): parameters and initial state are keyed by its id alone, and
only the last bit of the arithmetic depends on how many rows are advanced together.
"""

from surrogates.data.truth.advance import FRAMES, drawn, frames, start
from surrogates.data.truth.equations import EQUATIONS, SCHEMES, Truth, fields_of, solver_of, static_fields_of, written
from surrogates.data.truth.told import conditions, parameters_of, static, stored_box
from surrogates.data.truth.work import Tick, work, work_of_start

__all__ = [
    "EQUATIONS",
    "FRAMES",
    "SCHEMES",
    "Tick",
    "Truth",
    "conditions",
    "drawn",
    "fields_of",
    "frames",
    "parameters_of",
    "solver_of",
    "start",
    "static",
    "static_fields_of",
    "stored_box",
    "work",
    "work_of_start",
    "written",
]
