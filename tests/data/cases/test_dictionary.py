"""Dictionaries hold what the mapping holds: they are parsed back by our own parser, and nothing from outside becomes more than a number."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surrogates.data.cases.dictionary import block, field, number, tokens, write
from surrogates.data.foam import parse_dictionary


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_read_back_exactly(value: float) -> None:
    parsed = parse_dictionary(f"nu {number(value)};".encode(), Path("test"))["nu"]
    assert float(parsed) == value


def test_nested_entries_are_read_back() -> None:
    text = block({
        "ddtSchemes": {"default": "backward"},
        "divSchemes": {"div(phi,U)": "Gauss linear"},
        "(p|U)Final": {"tolerance": 1e-8},
        "value": ["uniform", (1.0, 0.0, 0.5)],
        "boundary": ("lid", {"type": "wall", "faces": ((3, 7, 6, 2),)}),
    })  # fmt: skip
    parsed = parse_dictionary(text.encode(), Path("test"))
    assert parsed.at("ddtSchemes.default") == "backward"
    assert parsed.dictionary("divSchemes")["div(phi,U)"] == ("Gauss", "linear")
    assert parsed.dictionary("UFinal")["tolerance"] == 1e-8
    assert parsed["value"] == ("uniform", [1.0, 0.0, 0.5])
    name, patch = parsed["boundary"]
    assert name == "lid" and patch["type"] == "wall" and patch["faces"] == [[3, 7, 6, 2]]


@pytest.mark.parametrize("word", ['#calc "1"', "$other", "a; b", "x { }", '"quoted"', "two\nlines", "#codeStream", "a//b", ""])
def test_words_that_are_more_than_words_are_refused(word: str) -> None:
    with pytest.raises(ValueError, match="is no word of a dictionary"):
        tokens(word)
    with pytest.raises(ValueError, match="is no word of a dictionary"):
        block({word: 1.0})


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, True, None, b"1"])
def test_only_finite_numbers_are_numbers(value: object) -> None:
    with pytest.raises(ValueError, match="finite numbers"):
        tokens(value)


def test_files_have_their_header(tmp_path: Path) -> None:
    write(tmp_path, "system/controlDict", {"endTime": 1.0})
    field(tmp_path, "U", "0 1 -1 0 0 0 0", (1.0, 0.0, 0.0), {"walls": {"type": "noSlip"}})
    control = parse_dictionary((tmp_path / "system/controlDict").read_bytes(), tmp_path)
    assert control.at("FoamFile.object") == "controlDict"
    u = parse_dictionary((tmp_path / "0/U").read_bytes(), tmp_path)
    assert u.at("FoamFile.class") == "volVectorField" and u["internalField"] == ("uniform", [1.0, 0.0, 0.0])
