"""Benchmarks: a suite is run, every contender on one clock, and reported on one page.

suite = load_suite("kolmogorov2d")
scores = run_suite(suite, {"mine": surrogate}, truth, training, "runs/mine")
write_report("runs/mine")
"""

from surrogates.bench.contenders import Contender, contenders
from surrogates.bench.cost import Cost, costs
from surrogates.bench.report import write_report
from surrogates.bench.run import run_suite
from surrogates.bench.suite import Solver, Suite, Timing, load_suite
from surrogates.bench.summary import summarise
from surrogates.bench.tables import markdown
from surrogates.bench.verdict import verdict

__all__ = [
    "Contender",
    "Cost",
    "Solver",
    "Suite",
    "Timing",
    "contenders",
    "costs",
    "load_suite",
    "markdown",
    "run_suite",
    "summarise",
    "verdict",
    "write_report",
]
