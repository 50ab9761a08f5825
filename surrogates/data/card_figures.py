"""The figures of a data set's card: a frame of every channel, mean and root mean square over time, how often values occur, spectra."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from surrogates.data.animate import limits
from surrogates.data.raster import raster
from surrogates.data.sample import Sample
from surrogates.data.written import channels
from surrogates.domains import Mesh
from surrogates.domains.layout import AnyDomain
from surrogates.interchange import TIME, domain_of, fields_of, times_of

SHOWN, SERIES = 12, 200  # channels in a figure, frames in a series
BLUE, GREY = "#0072b2", "#8a8a8a"
STYLE: dict[Any, Any] = {"font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "figure.constrained_layout.use": True}


def frames(plt: Any, one: xr.Dataset) -> Any:
    domain, names = domain_of(one), fields_of(one).channels[:SHOWN]
    u = channels(one.isel({TIME: one.sizes[TIME] // 2}), fields_of(one), ())
    figure, axes = _axes(plt, len(names), 2.0 if domain.dim == 1 else 2.7)
    show = raster(domain) if domain.dim > 1 else None
    for axis, name, units, values in zip(axes, names, fields_of(one).units, u, strict=False):
        axis.set_title(f"{name} [{units}]")
        if show is None:
            axis.plot(_points(domain), values, color=BLUE, linewidth=1)
            continue
        low, high, colours = limits(values)
        image = axis.imshow(show(values), extent=show.extent, vmin=low, vmax=high, cmap=colours, interpolation="nearest")
        figure.colorbar(image, ax=axis, shrink=0.8)
    return figure


def series(plt: Any, one: xr.Dataset) -> Any:
    domain, fields = domain_of(one), fields_of(one)
    chosen = one.isel({TIME: even(one.sizes[TIME], SERIES)})
    w = domain.measure.numpy().ravel()
    means, squares = [], []
    for n in range(chosen.sizes[TIME]):
        u = channels(chosen.isel({TIME: n}), fields, ()).reshape(fields.count, -1)[:SHOWN].astype(np.float64)
        known = np.isfinite(u) & (w > 0)
        weight = np.where(known, w, 0.0)
        total, held = np.maximum(weight.sum(1), 1e-300), np.where(known, u, 0.0)
        blank = np.where(known.any(1), 0.0, np.nan)
        means.append((held * weight).sum(1) / total + blank)
        squares.append(np.sqrt((held**2 * weight).sum(1) / total) + blank)
    figure, axes = _axes(plt, len(means[0]), 1.8)
    for axis, name, mean, rms in zip(axes, fields.channels, np.transpose(means), np.transpose(squares), strict=False):
        axis.set_title(name)
        axis.plot(times_of(chosen), rms, color=GREY, linewidth=1)
        axis.plot(times_of(chosen), mean, color=BLUE, linewidth=1)
    return figure


def histograms(plt: Any, sample: Sample) -> Any:
    names = sample.fields.channels[:SHOWN]
    figure, axes = _axes(plt, len(names), 1.8)
    for axis, name, values in zip(axes, names, sample.values, strict=False):
        axis.set_title(name)
        held = np.concatenate(values) if values else np.zeros(0)
        if held.size:
            axis.hist(held.astype(np.float64), bins=60, log=True, color=BLUE)
    return figure


def spectra(plt: Any, sample: Sample) -> Any:
    found = [(n, s) for c, n in enumerate(sample.fields.channels[:SHOWN]) if (s := sample.spectrum(c)) is not None]
    figure, axes = _axes(plt, len(found), 2.2)
    for axis, (name, s) in zip(axes, found, strict=False):
        slope = "" if np.isnan(s.slope) else f", slope {s.slope:.2f}"
        axis.set(title=name + slope, xlabel="wavenumber" if s.along == "shells" else f"wavenumber along {s.along}")
        power = np.where(s.power > 0, s.power, np.nan)
        axis.loglog(s.wavenumbers[1:], power[1:], color=BLUE, linewidth=1)
    return figure


def _axes(plt: Any, count: int, height: float) -> tuple[Any, list[Any]]:
    columns = min(3, count)
    lines = -(-count // columns)
    figure, axes = plt.subplots(lines, columns, figsize=(9.6, height * lines), squeeze=False)
    every = list(axes.ravel())
    for axis in every[count:]:
        axis.set_axis_off()
    return figure, every[:count]


def drawn(draw: Callable[[Any], Any]) -> bytes:
    try:
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("a card needs matplotlib: pip install matplotlib") from error
    out = io.BytesIO()
    with plt.rc_context(STYLE):
        figure = draw(plt)
        figure.savefig(out, format="png", dpi=110)
        plt.close(figure)
    return out.getvalue()


def _points(domain: AnyDomain) -> NDArray[Any]:
    return domain.points[:, 0].numpy() if isinstance(domain, Mesh) else domain.coordinate(0).numpy()


def even(count: int, most: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))
