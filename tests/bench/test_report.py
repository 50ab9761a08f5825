"""The page stands alone: nothing is loaded from elsewhere, and what it says is what the run left behind."""

from __future__ import annotations

import base64
import re
import shutil
from html import escape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from bench.tiny import Made

from surrogates import pde
from surrogates.bench import Solver, Timing, run_suite, verdict, write_report
from surrogates.bench.suite import Suite
from surrogates.domains import Box
from surrogates.interchange import to_xarray


class Reader(HTMLParser):
    """Tags that are opened and closed, and every attribute that could load something."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.images = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)
        self.images += tag == "img"
        self.loads += [str(v) for k, v in attrs if k in ("src", "href", "srcset", "data", "action") and v]
        assert tag not in ("script", "link", "iframe"), f"a {tag} in a page of pictures and text"

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page(made: Made) -> str:
    return (made.folder / "report.html").read_text()


def test_the_page_loads_nothing(page: str) -> None:
    reader = Reader()
    reader.feed(page)
    assert reader.open == [] and reader.images == 6
    assert all(v.startswith("data:image/") for v in reader.loads)
    text = re.sub(r"data:image/[^\"]*", "", page)
    assert "http:" not in text and "https:" not in text and "@import" not in text and "url(" not in text
    for image in reader.loads:
        kind, _, body = image.partition(";base64,")
        content = base64.b64decode(body)
        assert content.startswith(b"\x89PNG") if kind.endswith("png") else b"</svg>" in content
        assert b'xlink:href="http' not in content and b'<image href="http' not in content


def test_the_page_says_what_the_numbers_say(page: str, made: Made) -> None:
    for sentence in verdict(made.scores):
        assert f"<p>{escape(sentence)}</p>" in page
    assert "1.2 &lt;fitted&gt;" in page, "what a surrogate says of itself is text, not markup"
    assert "model error" in page and "persistence" in page and "mean field of the training split" in page
    assert "One training" in page


def test_a_report_is_made_again_without_running(made: Made, tmp_path: Path, page: str) -> None:
    copy = shutil.copytree(made.folder, tmp_path / "copy")
    for name in ("report.html", "table.md"):
        (copy / name).unlink()
    again = write_report(copy).read_text()
    assert re.sub(r"data:image/[^\"]*", "", again) == re.sub(r"data:image/[^\"]*", "", page)
    assert (copy / "table.md").read_text() == (made.folder / "table.md").read_text()


def test_a_folder_without_a_run_has_no_report(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no finished benchmark"):
        write_report(tmp_path)


def test_scores_are_read_back_as_they_were_written(made: Made) -> None:
    stored = xr.load_dataset(made.folder / "scores.nc", engine="scipy")
    assert stored.attrs["reference"] == "mine" and set(stored.variables) == set(made.scores.variables)
    for name, values in made.scores.data_vars.items():
        same = np.array_equal(stored[name].values, values.values, equal_nan=values.dtype.kind == "f")
        assert same and stored[name].attrs.get("long_name"), name


def test_a_velocity_is_drawn_by_its_vorticity_and_one_forecast_needs_no_ensemble(tmp_path: Path) -> None:
    """In the plane, without an ensemble, a Lyapunov time or a certificate."""
    import torch

    from surrogates.pde.initial import flow

    box, fields = Box.periodic((16, 16), 2 * torch.pi), pde.Kolmogorov.fields
    u = flow(box, range(2), 0, peak=3, rms=1.0).float()[:, None].repeat(1, 5, 1, 1, 1)
    constants = {"viscosity": [0.05] * 2, "drag": [0.1] * 2, "forcing": [0.0] * 2, "wavenumber": [4.0] * 2}
    data = to_xarray(
        u, fields, box, time=[0.1 * n for n in range(5)], trajectories=range(2), parameters=constants, attrs={"dt": 0.1, "split": "train"}
    )
    suite = Suite("flat", 4, Solver("Kolmogorov", (16,), (0.1,)), timing=Timing(1, 1))
    still = pde.Persistence(fields)
    run_suite(suite, {"still": still}, data, data, tmp_path / "run")
    page = write_report(tmp_path / "run").read_text()
    assert "No contender is an ensemble" in page and "time units" in page
    picture = xr.load_dataset(tmp_path / "run" / "pictures" / "truth.nc")["picture"]
    assert picture.attrs["long_name"] == "vorticity"
    assert np.allclose(picture.values[0, 0], box.vorticity(u[:, 0])[0, 0].numpy(), atol=1e-5)
