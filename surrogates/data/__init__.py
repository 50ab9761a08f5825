"""Data: what a recipe makes and what is converted from files of others opens as xarray and trains as windows of a packed cache.

`surrogates.data.module.DataModule` is not imported here, since it needs lightning.
"""

from surrogates.data.coarse import Coarse
from surrogates.data.conversion import convert
from surrogates.data.crops import Crops
from surrogates.data.cuts import Split
from surrogates.data.files import open_dataset
from surrogates.data.formats import open_parts
from surrogates.data.formats.given import Given
from surrogates.data.kinds import make
from surrogates.data.order import Order
from surrogates.data.recipe import Recipe, load_recipe
from surrogates.data.splits import by_parameter, by_time, by_trajectory, split_of
from surrogates.data.windows import Batch, Windows

__all__ = [
    "Batch",
    "Coarse",
    "Crops",
    "Given",
    "Order",
    "Recipe",
    "Split",
    "Windows",
    "by_parameter",
    "by_time",
    "by_trajectory",
    "convert",
    "load_recipe",
    "make",
    "open_dataset",
    "open_parts",
    "split_of",
]
