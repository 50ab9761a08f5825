"""What a surrogate was trained on, as ranges, and whether an initial state lies inside: parameters, amplitude and spectrum.

    parameters    lowest and highest of the training split
    amplitude     rms of each channel,              [lowest / margin, highest * margin]
    spectrum      energy of each shell, E_n,        [lowest / margin^2, highest * margin^2] where a shell holds 1e-8 of the energy or more

over all trajectories and frames of the training split; shells on periodic boxes alone. Networks interpolate: outside of these ranges
nothing was learnt and nothing measured, so that a forecast from there is refused, or made with a warning that says what lies outside.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from surrogates.domains import Box
from surrogates.fields import Fields
from surrogates.interchange import TIME, TRAJECTORY, domain_of, fields_of, from_xarray, parameters_of, trajectories_of
from surrogates.metrics.shells import shell_spectrum
from surrogates.record import construct, describe, recorded

FILE = "ranges.json"
LEAST = 1e-8
Range = tuple[float, float]
Array = NDArray[np.float64]


class OutsideTrainingError(ValueError):
    """An initial state from which the surrogate has learnt nothing."""


@recorded
@dataclass(frozen=True)
class Ranges:
    """Lowest and highest: `parameters` by name, `amplitude` a channel, `spectrum` a channel and shell (empty where there are none)."""

    channels: tuple[str, ...]
    parameters: Mapping[str, Range]
    amplitude: tuple[Range, ...]
    spectrum: tuple[tuple[Range, ...], ...] = ()
    margin: float = 1.5

    @classmethod
    def fit(cls, training: xr.Dataset, *, margin: float = 1.5) -> Ranges:
        """Of the training split. Raises ValueError for another split and for a margin below 1."""
        if training.attrs.get("split", "train") != "train":
            raise ValueError(f"ranges come from the split 'train' only, not from {training.attrs['split']!r}")
        if margin < 1:
            raise ValueError(f"margin widens the ranges: it is at least 1, got {margin}")
        fields, found = fields_of(training), list[tuple[Array, Array | None]]()
        for i in range(training.sizes.get(TRAJECTORY, 1)):
            found.append(_sizes(_row(training, i), fields))
        amplitude = _extremes([a for a, _ in found])
        spectra = [s for _, s in found if s is not None]
        spectrum = tuple(_extremes([s[:, c] for s in spectra]) for c in range(fields.count)) if spectra else ()
        parameters = {name: (float(v.min()), float(v.max())) for name, v in parameters_of(training).items()}
        return cls(fields.channels, parameters, amplitude, spectrum, margin)

    def reasons(self, initial: xr.Dataset, fields: Fields | None = None) -> list[str]:
        """What of an initial state lies outside, a sentence each; empty where all lies inside. Raises ValueError for other channels."""
        fields = fields or fields_of(initial)
        if fields.channels != self.channels:
            raise ValueError(f"these ranges are of {self.channels} but the state holds {fields.channels}")
        out = []
        known = parameters_of(initial)
        for i, trajectory in enumerate(trajectories_of(initial)):
            where = f"trajectory {trajectory}: "
            for name, (low, high) in self.parameters.items():
                if name in known:
                    value, slack = float(known[name].reshape(-1)[i if len(known[name]) > 1 else 0]), 1e-6 * (abs(low) + abs(high))
                    if not low - slack <= value <= high + slack:
                        out.append(f"{where}{name} is {value:g} but training held {low:g} to {high:g}")
            amplitude, spectrum = _sizes(_row(initial, i), fields)
            out += [where + text for text in self._of_state(amplitude[-1], None if spectrum is None else spectrum[-1])]
        return out

    def _of_state(self, amplitude: Array, spectrum: Array | None) -> list[str]:
        out = []
        for c, name in enumerate(self.channels):
            (low, high), value = self.amplitude[c], float(amplitude[c])
            if not low / self.margin <= value <= high * self.margin:
                out.append(f"rms of {name} is {value:g} but training held {low:g} to {high:g}")
            if spectrum is None or not self.spectrum or len(self.spectrum[c]) != spectrum.shape[1]:
                continue  # another resolution has other shells
            least = LEAST * sum(high for _, high in self.spectrum[c])
            wide = self.margin**2
            bad = [
                n
                for n, (low, high) in enumerate(self.spectrum[c])
                if n and high > least and not low / wide - least <= spectrum[c, n] <= high * wide + least
            ]
            if bad:
                n = bad[0]
                low, high = self.spectrum[c][n]
                out.append(
                    f"{len(bad)} of {spectrum.shape[1] - 1} shells of {name} lie outside, the first {n}: {spectrum[c, n]:.3g} "
                    f"but training held {low:.3g} to {high:.3g}"
                )
        return out

    def check(self, initial: xr.Dataset, *, refuse: bool = True) -> None:
        """Raise OutsideTrainingError with the reasons, or with refuse=False warn of them."""
        reasons = self.reasons(initial)
        if not reasons:
            return
        more = f"; and {len(reasons) - 5} more" if len(reasons) > 5 else ""
        text = "outside what the surrogate was trained on, where nothing is promised: " + "; ".join(reasons[:5]) + more
        if refuse:
            raise OutsideTrainingError(text)
        warnings.warn(text, stacklevel=2)

    def write(self, folder: str | os.PathLike[str]) -> Path:
        """Beside a saved surrogate, as JSON."""
        path = Path(folder) / FILE
        part = path.with_suffix(".part")
        part.write_text(json.dumps(describe(self)))
        os.replace(part, path)
        return path

    @classmethod
    def read(cls, folder: str | os.PathLike[str]) -> Ranges:
        """Raises FileNotFoundError where there are none, and ValueError for another content."""
        path = Path(folder) / FILE
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing; Ranges.fit(training).write({str(folder)!r}) makes it")
        found = construct(json.loads(path.read_text()))
        if not isinstance(found, cls):
            raise ValueError(f"{path} holds a {type(found).__name__}, not Ranges")
        return found


def _row(dataset: xr.Dataset, i: int) -> xr.Dataset:
    return dataset.isel({TRAJECTORY: [i]}) if TRAJECTORY in dataset.dims else dataset


def _sizes(one: xr.Dataset, fields: Fields) -> tuple[Array, Array | None]:
    """rms (T, C) and shell energies (T, C, S) of the frames of one trajectory."""
    u = from_xarray(one, fields)
    domain = domain_of(one if TIME in one.dims else one.expand_dims(TIME))
    flat = u.flatten(0, 1)
    volume = domain.integral(torch.ones_like(flat[:1, :1]))
    amplitude = (domain.integral(flat.double().square()) / volume).sqrt().numpy()
    periodic = isinstance(domain, Box) and domain.all_periodic
    return amplitude, shell_spectrum(u, domain)[0].numpy() if periodic else None


def _extremes(values: Sequence[Array]) -> tuple[Range, ...]:
    """Over frames and trajectories, of (T, N) each: N pairs."""
    low, high = np.min([v.min(0) for v in values], 0), np.max([v.max(0) for v in values], 0)
    return tuple((float(a), float(b)) for a, b in zip(low, high, strict=True))
