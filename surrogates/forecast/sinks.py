"""Where the frames of a forecast go: memory, or a Zarr folder that can be resumed. Rows are trajectory-major.

The Zarr folder holds the arrays (trajectory, [member,] time, *axes) and `run.json`: the fingerprint of the run (step, initial state, seed,
sizes) and how many frames of each group of rows are written. Frames are written first, then the state behind them, then the
progress, so a run killed at any moment goes on from its last marked chunk and writes the same bytes again where it was cut.
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
import xarray as xr
import zarr
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from surrogates.contracts import State

RUN, STATES = "run.json", ".state"
FAILED_STEP, FAILED_REASON = "failed_step", "failed_reason"


@runtime_checkable
class Sink(Protocol):
    """A forecast under way, in groups of rows."""

    def made(self, group: int) -> int: ...
    def state(self, group: int) -> dict[str, Tensor]: ...
    def failures(self, rows: Sequence[int]) -> NDArray[Any]: ...
    def write(self, rows: Sequence[int], start: int, block: Mapping[str, NDArray[Any]], failures: NDArray[Any]) -> None: ...
    def mark(self, group: int, made: int, state: State) -> None: ...
    def finish(self) -> xr.Dataset: ...


class MemorySink:
    """Frames in memory: the template's own arrays, filled."""

    def __init__(self, template: xr.Dataset) -> None:
        self._result = template.copy(data={name: np.array(v.values) for name, v in template.data_vars.items()})

    def made(self, group: int) -> int:
        return 0

    def state(self, group: int) -> dict[str, Tensor]:
        raise LookupError("a forecast in memory has no stored state")

    def failures(self, rows: Sequence[int]) -> NDArray[Any]:
        return np.stack([self._result[n].values.reshape(-1)[list(rows)] for n in (FAILED_STEP, FAILED_REASON)])

    def write(self, rows: Sequence[int], start: int, block: Mapping[str, NDArray[Any]], failures: NDArray[Any]) -> None:
        for name, values in block.items():
            target = self._result[name].values
            flat = target.reshape(-1, *target.shape[2 if "member" in self._result.dims else 1 :])
            flat[list(rows), start : start + values.shape[1]] = values
        for name, values in zip((FAILED_STEP, FAILED_REASON), failures, strict=True):
            self._result[name].values.reshape(-1)[list(rows)] = values

    def mark(self, group: int, made: int, state: State) -> None:
        pass

    def finish(self) -> xr.Dataset:
        return self._result


class ZarrSink:
    """Frames in a Zarr folder. Raises FileExistsError where `path` holds another run or something else."""

    def __init__(self, path: str | os.PathLike[str], template: xr.Dataset, fingerprint: Mapping[str, Any], chunk: int) -> None:
        self.path = Path(path)
        self._fingerprint, self._progress = dict(fingerprint), dict[str, int]()
        self._members = template.sizes.get("member")
        if (self.path / RUN).is_file():
            self._progress = self._same_run()
        elif self.path.exists() and (self.path.is_file() or any(self.path.iterdir())):
            raise FileExistsError(f"{self.path} exists and is no forecast of ours; choose another output folder")
        else:
            self._create(template, chunk)
        self._root, self._arrays = zarr.open_group(str(self.path), mode="r+"), dict[str, Any]()

    def made(self, group: int) -> int:
        return self._progress.get(str(group), 0)

    def state(self, group: int) -> dict[str, Tensor]:
        file = self.path / STATES / f"{group}-{self.made(group)}.safetensors"
        with safe_open(file, "pt") as opened:
            complex_keys = set(json.loads(opened.metadata()["complex"]))
        return {k: torch.view_as_complex(v) if k in complex_keys else v for k, v in load_file(file).items()}

    def failures(self, rows: Sequence[int]) -> NDArray[Any]:
        return np.stack([np.asarray(self._array(n)[...]).reshape(-1)[list(rows)] for n in (FAILED_STEP, FAILED_REASON)])

    def write(self, rows: Sequence[int], start: int, block: Mapping[str, NDArray[Any]], failures: NDArray[Any]) -> None:
        for part, where in self._regions(rows):
            for name, values in block.items():
                self._array(name)[(*where, slice(start, start + values.shape[1]))] = values[part] if self._members else values[part][0]
            for name, codes in zip((FAILED_STEP, FAILED_REASON), failures, strict=True):
                if (failures[0][part] >= 0).any():  # laid out as "none failed"
                    self._array(name)[where] = codes[part] if self._members else codes[part][0]

    def mark(self, group: int, made: int, state: State) -> None:
        folder = self.path / STATES
        folder.mkdir(exist_ok=True)
        complex_keys = sorted(k for k, v in state.items() if v.is_complex())
        tensors = {k: (torch.view_as_real(v) if v.is_complex() else v).detach().cpu().clone().contiguous() for k, v in state.items()}
        file = folder / f"{group}-{made}.safetensors"
        save_file(tensors, file.with_suffix(".part"), metadata={"complex": json.dumps(complex_keys)})
        os.replace(file.with_suffix(".part"), file)
        self._progress[str(group)] = made
        self._save()
        for old in folder.glob(f"{group}-*.safetensors"):
            if old != file:
                old.unlink()

    def finish(self) -> xr.Dataset:
        """The forecast, opened lazily; states that only a resume needs are dropped."""
        for old in (self.path / STATES).glob("*.safetensors"):
            old.unlink()
        return open_forecast(self.path)

    def _array(self, name: str) -> Any:
        """Each opened once: opening reads its metadata again."""
        if name not in self._arrays:
            self._arrays[name] = self._root[name]
        return self._arrays[name]

    def _regions(self, rows: Sequence[int]) -> Iterator[tuple[slice, tuple[int | slice, ...]]]:
        """For each trajectory among the rows: which rows, and where they lie."""
        count = self._members or 1
        for trajectory in sorted({r // count for r in rows}):
            mine = [i for i, r in enumerate(rows) if r // count == trajectory]
            first = rows[mine[0]] % count
            member = (slice(first, first + len(mine)),) if self._members else ()
            yield slice(mine[0], mine[-1] + 1), (trajectory, *member)

    def _create(self, template: xr.Dataset, chunk: int) -> None:
        encoding: dict[Any, dict[str, Any]] = {}
        for name, variable in template.data_vars.items():
            sizes = [min(chunk, n) if d == "time" else 1 if d == "trajectory" else n for d, n in variable.sizes.items()]
            encoding[name] = {"chunks": tuple(sizes), "compressors": ()}  # turbulence hardly compresses; trying costs 5 times the write
            if "time" in variable.dims:
                encoding[name]["_FillValue"] = np.nan
        lazy = template.assign({n: v.chunk({"time": chunk}) for n, v in template.data_vars.items() if "time" in v.dims})
        for name, coordinate in template.coords.items():
            lazy[name] = coordinate
        part = self.path.with_name(self.path.name + ".part")  # a folder without its run.json would be taken for somebody else's
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            lazy.to_zarr(str(part), mode="a", compute=False, consolidated=False, encoding=encoding)
        self._save(part)
        if self.path.exists():
            self.path.rmdir()
        part.rename(self.path)

    def _same_run(self) -> dict[str, int]:
        stored = json.loads((self.path / RUN).read_text())
        old, new = stored["fingerprint"], json.loads(json.dumps(self._fingerprint))
        differing = sorted(k for k in {*old, *new} if old.get(k) != new.get(k))
        if differing:
            raise FileExistsError(
                f"{self.path} holds another run: it differs in {', '.join(differing)}; choose another output folder or remove it"
            )
        return dict(stored["progress"])

    def _save(self, folder: Path | None = None) -> None:
        file = (folder or self.path) / RUN
        part = file.with_suffix(".part")
        part.write_text(json.dumps({"fingerprint": self._fingerprint, "progress": self._progress}, indent=1))
        os.replace(part, file)


def open_forecast(path: str | os.PathLike[str]) -> xr.Dataset:
    """A forecast written by `simulate`, lazily. Raises ValueError where the folder is none."""
    if not (Path(path) / RUN).is_file():
        raise ValueError(f"{path} is not a forecast: it has no {RUN}; `surrogates rollout --out` writes one")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        forecast: xr.Dataset = xr.open_zarr(str(path), consolidated=False)
    return forecast
