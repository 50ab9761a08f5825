"""Real observations, small and honest: fetched from packages that anybody can have, verified, masked, split by time with a gap.

`recipe` says what a data set is, `fetch` finds its files, `build` makes Datasets and files of them, `persistence` the figures of its card.
"""

from surrogates.data.observed.build import make, splits, whole
from surrogates.data.observed.fetch import files_of
from surrogates.data.observed.recipe import Recipe, load, sizes

__all__ = ["Recipe", "files_of", "load", "make", "sizes", "splits", "whole"]
