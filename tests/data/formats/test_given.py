"""What a person says fills what a file lacks, and what nobody says is asked for by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from surrogates.data.cuts import Split
from surrogates.data.formats.given import Given

HERE = Path("flow.h5")


def test_a_sidecar_is_read_and_the_given_goes_before_it(tmp_path: Path) -> None:
    (tmp_path / "source.yaml").write_text("dt: 5e-3\nunits: {u: m/s, p: Pa}\nsplit: {train: 0.5, test: 0.5, by: time, gap: 3}\n")
    beside = Given.beside(tmp_path / "u.npy")
    assert beside == Given(dt=0.005, units={"u": "m/s", "p": "Pa"}, split=Split(0.5, 0.0, 0.5, "time", 3))
    both = Given(dt=1.0, units={"u": "cm/s"}).over(beside)
    assert (both.dt, dict(both.units), both.split) == (1.0, {"u": "cm/s", "p": "Pa"}, beside.split)
    assert Given().over(beside) == beside and beside.over(Given()) == beside
    (tmp_path / "source.yaml").rename(tmp_path / "source.json")
    (tmp_path / "source.json").write_text('{"dt": 0.005, "lengths": 2}')
    assert Given.beside(tmp_path) == Given(dt=0.005, lengths=(2.0,))


def test_what_is_missing_is_asked_for_with_the_line_to_write(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"flow\.h5: dt is not known: no clock\. Write the line `dt: 0\.1` .* source\.yaml .* --given"):
        Given().need(None, "dt", HERE, "no clock")
    with pytest.raises(ValueError, match=r"units\.p is not known.*`units: \{p: m/s\}`"):
        Given().unit("p", HERE)
    with pytest.raises(ValueError, match=r"`options: \{channels: \[u, v\]\}`"):
        Given().need([], "options.channels=[u, v]", HERE, "no names")
    with pytest.raises(ValueError, match="lengths is not known"):
        Given(boundary=("wall",)).box((4,), HERE)
    assert Given().need(0.0, "time", HERE, "zero is an answer") == 0.0


def test_units_are_the_given_then_the_files_then_those_of_others() -> None:
    given = Given(units={"u": "km", "others": "1"})
    assert [given.unit("u", HERE, "m"), given.unit("p", HERE, "Pa"), given.unit("q", HERE)] == ["km", "Pa", "1"]


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("dtt: 1", "dtt: unknown key.*did you mean 'dt'"),
        ("dt: -1", "must be positive"),
        ("lengths: [1, 0]", "must be positive"),
        ("lengths: [1, .inf]", "must be positive and finite"),
        ("dt: .inf", "must be positive and finite"),
        ("lower: [.nan]", "lower is .nan. but must be finite"),
        ("dt: soon", "dt: expected a number"),
        ("split: {train: 0.9, test: 0.2}", "sum to at most 1"),
        ("split: {train: 0.5, test: 0.5, gap: 3}", "by: time"),
        ("- 1", "expected a mapping"),
        ("name: !!python/object/apply:os.system ['true']", "not readable as YAML"),
    ],
)
def test_a_wrong_sidecar_is_refused_with_the_place(tmp_path: Path, line: str, match: str) -> None:
    (tmp_path / "source.yaml").write_text(line)
    with pytest.raises(ValueError, match=match) as error:
        Given.beside(tmp_path)
    assert "source.yaml" in str(error.value)


def test_a_box_fits_its_grid_and_parameters_their_trajectories() -> None:
    box = Given(lengths=(1.0, 2.0), lower=(0.0, -1.0)).box((4, 8), HERE, boundary=("periodic", "wall"), units="m")
    assert (box.lower, box.upper, box.units) == ((0.0, -1.0), (1.0, 1.0), "m")
    said = Given.told("{lengths: [1, 2], boundary: [periodic, wall], open_ends: [y_upper]}").box((4, 8), HERE, units="m")
    assert said.sides == (("periodic", "periodic"), ("wall", "open"))
    with pytest.raises(ValueError, match="boundary has 1 entries but the grid"):
        Given(lengths=(1.0, 2.0), boundary=("wall",)).box((4, 8), HERE, units="m")
    assert Given(parameters={"nu": (0.1,), "Re": (1.0, 2.0)}).columns(2, HERE) == {"nu": [0.1, 0.1], "Re": [1.0, 2.0]}
    with pytest.raises(ValueError, match="'Re' has 2 values but there are 3"):
        Given(parameters={"Re": (1.0, 2.0)}).columns(3, HERE)
