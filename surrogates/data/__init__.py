"""Data: a recipe is generated into files in The Well's layout, which open as xarray and train as windows of a packed cache.

`surrogates.data.module.DataModule` is not imported here, since it needs lightning.
"""

from surrogates.data.coarse import Coarse
from surrogates.data.crops import Crops
from surrogates.data.files import open_dataset
from surrogates.data.generate import make
from surrogates.data.order import Order
from surrogates.data.recipe import Recipe, load_recipe
from surrogates.data.splits import by_parameter, by_time, by_trajectory, split_of
from surrogates.data.windows import Batch, Windows

__all__ = [
    "Batch",
    "Coarse",
    "Crops",
    "Order",
    "Recipe",
    "Windows",
    "by_parameter",
    "by_time",
    "by_trajectory",
    "load_recipe",
    "make",
    "open_dataset",
    "split_of",
]
