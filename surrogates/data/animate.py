"""An animation as a GIF of one palette: 254 colours of a map, one for what is missing, one for writing. Any domain (`raster`), or a line.

Written by Pillow, which matplotlib brings along. Frames are few and small, so that the file can stand in a page.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from surrogates.data.raster import raster
from surrogates.domains.layout import AnyDomain

COLOURS, NOTHING, INK = 254, 254, 255
STRIP, LINE_HEIGHT, WIDTH = 14, 160, 240
Image = NDArray[np.uint8]


def limits(values: NDArray[np.float32]) -> tuple[float, float, str]:
    """Least and greatest value to show, and a colour map: a diverging one around zero where values have both signs. NaN is left out."""
    known = values[np.isfinite(values)]
    if not known.size:
        return 0.0, 1.0, "viridis"
    low, high = (float(v) for v in np.percentile(known, (0.5, 99.5)))
    if low < 0 < high and min(-low, high) > 0.2 * max(-low, high):
        return -max(-low, high), max(-low, high), "RdBu_r"
    return (low, high, "viridis") if high > low else (low - 0.5, low + 0.5, "viridis")


def gif(frames: NDArray[np.float32], domain: AnyDomain, titles: Sequence[str], *, milliseconds: int = 90) -> bytes:
    """Frames (T, *X) with a title each, as a GIF that goes round. Raises ImportError with the line that installs Pillow."""
    try:
        from PIL import Image as Pillow
        from PIL import ImageDraw
    except ImportError as error:
        raise ImportError("an animation needs Pillow: pip install pillow") from error
    low, high, name = limits(frames)
    drawn = _lines(frames, low, high) if domain.dim == 1 else _maps(frames, domain, low, high)
    pictures = []
    for picture, title in zip(drawn, titles, strict=True):
        whole = np.full((picture.shape[0] + STRIP, picture.shape[1]), NOTHING, np.uint8)
        whole[STRIP:] = picture
        image = Pillow.fromarray(whole, mode="P")
        image.putpalette(_palette(name))
        ImageDraw.Draw(image).text((3, 1), title, fill=INK)
        pictures.append(image)
    out = io.BytesIO()
    pictures[0].save(out, "GIF", save_all=True, append_images=pictures[1:], duration=milliseconds, loop=0, optimize=False)
    return out.getvalue()


def _maps(frames: NDArray[np.float32], domain: AnyDomain, low: float, high: float) -> list[Image]:
    show = raster(domain, WIDTH)
    out = []
    for u in frames:
        values = show(u)
        scaled = np.clip((values - low) / (high - low) * COLOURS, 0, COLOURS - 1)
        out.append(np.where(np.isfinite(values), np.nan_to_num(scaled), NOTHING).astype(np.uint8))
    return out


def _lines(frames: NDArray[np.float32], low: float, high: float) -> list[Image]:
    """The graph of each frame, a pixel wide at least."""
    at = (np.arange(WIDTH) * frames.shape[1]) // WIDTH
    out = []
    for u in frames[:, at]:
        picture = np.full((LINE_HEIGHT, WIDTH), NOTHING, np.uint8)
        y = np.nan_to_num(LINE_HEIGHT - 1 - np.clip((u - low) / (high - low), 0, 1) * (LINE_HEIGHT - 1)).astype(int)
        for x in range(1, WIDTH):
            a, b = sorted((y[x - 1], y[x]))
            picture[a : b + 1, x] = INK
        out.append(picture)
    return out


def _palette(name: str) -> list[int]:
    import matplotlib

    colours = matplotlib.colormaps[name](np.linspace(0, 1, COLOURS))[:, :3]
    every = np.concatenate([colours, [[0.92, 0.92, 0.92], [0.0, 0.0, 0.0]]])
    return [int(v) for v in np.round(255 * every).astype(int).ravel()]
