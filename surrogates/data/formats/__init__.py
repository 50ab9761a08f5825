"""The formats that people have, each a module of two functions, and `open_parts`, which finds the one that fits.

    recognises(path) -> bool                         from names and metadata; never raises, never reads arrays
    read(path, given) -> {split: [Dataset, ...]}     "train", "valid", "test", or "all" where the source has no splits

A part is a lazy Dataset in the layout of `surrogates.interchange`: opening it reads metadata, a memory map or dask stands behind every
array. Parts of one split have the same fields and units; they may differ in mesh, grid or length. What is missing is NaN.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType

import xarray as xr

from surrogates.data.formats.given import Given
from surrogates.errors import nearest

FORMATS = {
    "mesh": "our HDF5 of fields on meshes (format_name surrogates.mesh), or a folder data/<split> of such files",
    "the_well": "HDF5 with groups dimensions, t0_fields, t1_fields, t2_fields, or a folder data/<split> of such files",
    "meshgraphnets": "HDF5 of trajectories with mesh_pos, cells, node_type",
    "pdearena": "HDF5 with a group train, valid or test of u, vx, vy, or pde_..., or d_field; train.zarr or train/seed=*/run*/output.nc",
    "pdebench": "HDF5 with tensor, or density, pressure, Vx, or velocity, particles, force, or groups 0000, 0001, ... with data",
    "cfdbench": "a folder of cases, each with case.json and u.npy, v.npy",
    "airfrans": "a folder of simulations, each with <name>_internal.vtu and <name>_aerofoil.vtp",
    "openfoam": "a case: a folder with system/controlDict and constant/polyMesh, or of such cases",
    "weatherbench": "Zarr with latitude, longitude, time and level",
    "cf": "NetCDF or Zarr with coordinates that follow the CF conventions",
    "fdns_channel": "Retau<number>_dim....npy (group, time, x, y, z, channel), or *_mave.npy and *_ave.npy in a folder",
    "npy": "a .npy array (trajectory, time, channel, *axes), or a folder with one .npy a field",
    "meshio": "VTK, VTU, XDMF, Gmsh, CGNS, MED, Exodus files of one mesh, or a series of them",
}
"""What each looks for; the specific come before the general."""

DAMAGE = (OSError, RuntimeError, LookupError, TypeError, AttributeError, ArithmeticError)
"""What libraries raise on files that no reader foresaw."""

__all__ = ["FORMATS", "Given", "open_parts", "reader_of"]


def open_parts(path: str | Path, format: str | None = None, given: Given | None = None) -> dict[str, list[xr.Dataset]]:
    """The parts of each split of a file or folder in one of `FORMATS`; `format` is found where it is not said.

    What the files lack comes from `given` and, below it, from `source.yaml` beside them. Raises ValueError where nothing is there, no
    format fits, or the files are not sound, with the place, and MemoryError with it where they do not fit.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise ValueError(f"{path}: no such file or folder")
    reader = reader_of(path, format)
    beside = Given.beside(path)
    try:
        parts: dict[str, list[xr.Dataset]] = reader.read(path, given.over(beside) if given else beside)
    except MemoryError as error:
        if not str(error):  # of a library that unpacks: what is packed says how large it was
            raise ValueError(
                f"{path}: a part of it says that it unpacks to more memory than there is; it is damaged, copy it again"
            ) from error
        raise MemoryError(f"{path} takes more memory than there is ({error}); open fewer of its files at once") from error
    except DAMAGE as error:
        raise ValueError(
            f"{path} cannot be read ({type(error).__name__}: {error}); it is damaged, or another format: copy it again. Where it is sound, "
            f"the fault is that of the reader {reader.__name__}, whose error stands above"
        ) from error
    if not any(parts.values()):
        raise ValueError(f"{path}: the format {reader.__name__.rpartition('.')[2]!r} found nothing in it")
    return {split: found for split, found in parts.items() if found}


def reader_of(path: Path, format: str | None = None) -> ModuleType:
    """The module that reads it. Raises ValueError where none does, with what each looks for."""
    if format is not None:
        if format not in FORMATS:
            raise ValueError(f"no format {format!r} among {list(FORMATS)}{nearest(format, FORMATS)}")
        return _module(format)
    for name in FORMATS:
        if _module(name).recognises(path):
            return _module(name)
    looked = "; ".join(f"{name}: {what}" for name, what in FORMATS.items())
    raise ValueError(
        f"{path} is in none of the known formats. Looked for: {looked}. If it is one of these, name it with format= (--format)"
    )


def _module(name: str) -> ModuleType:
    return import_module(f"{__name__}.{name}")
