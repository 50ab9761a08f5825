"""How fast observations change: the root of the mean square of u(t + lead) - u(t), the error of saying that nothing changes.

    python -m surrogates.data.observed.persistence north_america_1996 --leads 6 24 72

prints it for every field over the whole record, by area and with all cells alike (components of a vector are summed in the square).
Pairs with a missing frame are left out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import xarray as xr

from surrogates import catalog
from surrogates.data import kinds
from surrogates.data.observed.build import whole
from surrogates.data.observed.fetch import files_of
from surrogates.data.observed.recipe import Recipe
from surrogates.interchange import domain_of, fields_of, from_xarray


def persistence(data: xr.Dataset, frames: int) -> dict[str, tuple[float, float]]:
    """For every field (root mean square by area, with all wet cells alike) of the change over so many frames."""
    u, domain = from_xarray(data)[0], domain_of(data)
    wet = torch.ones(domain.shape, dtype=torch.bool) if domain.mask is None else domain.mask
    out = {}
    for f in fields_of(data):
        part = u[:, fields_of(data).slice(f.name)].double()
        change = (part[frames:] - part[:-frames]).square().sum(1)[:, wet]
        change = change[change.isfinite().all(1)]
        area = domain.measure[wet] / domain.measure[wet].sum()
        out[f.name] = (float((change @ area).mean().sqrt()), float(change.mean().sqrt()))
    return out


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("name", help="a data set of observations, or the path of its recipe")
    parser.add_argument("--leads", type=float, nargs="+", required=True, help="in the unit of the times")
    parser.add_argument("--folder", type=Path, help="where the files of its source lie or are fetched to (default: that of `data make`)")
    options = parser.parse_args(arguments)
    try:
        recipe = kinds.load(options.name)
        if not isinstance(recipe, Recipe):
            raise ValueError(f"{options.name} holds no observations")
        folder = options.folder or catalog.data_root() / recipe.name / recipe.size / "source"
        data = whole(recipe, files_of(recipe.source, folder))
        steps = [lead / float(data.attrs["dt"]) for lead in options.leads]
        if any(abs(n - round(n)) > 1e-6 or not 1 <= round(n) < data.sizes["time"] for n in steps):
            raise ValueError(f"leads {options.leads} must be multiples of the step {data.attrs['dt']:g} within the record")
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    unit = str(data["time"].attrs["units"]).split()[0]
    print(f"| field | lead [{unit}] | by area | all cells alike |\n|---|---|---|---|")
    for name in fields_of(data).names:
        for lead, n in zip(options.leads, np.round(steps).astype(int).tolist(), strict=True):
            area, alike = persistence(data, n)[name]
            print(f"| {name} [{fields_of(data)[name].units}] | {lead:g} | {area:.4g} | {alike:.4g} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
