"""Lists of numbers: every way of writing them gives the same bits, and no declared length is believed."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from foam_case import Style
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from surrogates.data.foam import lists, source
from surrogates.data.foam.header import Header, read_header
from surrogates.data.foam.tokens import Cursor

STYLES = [Style(), Style(packed=True)] + [
    Style(True, order, label, scalar) for order in ("LSB", "MSB") for label in (32, 64) for scalar in (32, 64)
]


def cursor_of(data: bytes) -> Cursor:
    return Cursor(data, Path("f"))


@pytest.mark.parametrize("style", STYLES, ids=str)
@pytest.mark.parametrize(("kind", "width"), list(lists.TYPES.items()))
def test_what_is_written_is_read(style: Style, kind: str, width: int, tmp_path: Path) -> None:
    random = np.random.default_rng(width)
    shape = (17,) if kind in ("label", "scalar") else (17, width)
    values = (
        random.integers(-(2**31), 2**31, shape)
        if kind == "label"
        else random.standard_normal(shape).astype(f"f{style.scalar // 8}").astype(float)
    )
    style.save(tmp_path / "f", style.head(f"{kind}Field", "f") + style.numbers(values) + b"\n// end\n")
    cursor = Cursor(source.load(tmp_path / "f"), tmp_path / "f")
    header = read_header(cursor)
    found = lists.read(cursor, kind, header)
    np.testing.assert_array_equal(found.reshape(shape), values)
    assert cursor.peek() == b""


@settings(max_examples=40)
@given(arrays(np.float64, st.tuples(st.integers(0, 20), st.just(3)), elements=st.floats(width=64)))
def test_text_gives_the_same_bits(values: np.ndarray) -> None:
    found = lists.read(cursor_of(Style().numbers(values)), "vector", None)
    np.testing.assert_array_equal(found, values)


def test_pieces_join_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.arange(3000.0).reshape(-1, 3) / 7
    monkeypatch.setattr(lists, "PIECE", 101)
    np.testing.assert_array_equal(lists.read(cursor_of(Style().numbers(values)), "vector", None), values)


@pytest.mark.parametrize(
    "remarks",
    [
        ("// one (1)\n", "", "\n"),
        ("", "", "// end\n"),
        ("/* (9 9 9) */", "// ) )\n", "/* ) */"),
        ('// "\n', "/* ) */", '// it\'s "quoted)"\n'),
    ],
)
def test_comments_may_stand_anywhere(remarks: tuple[str, str, str]) -> None:
    """Within rows, between them, before the last bracket; what follows is read from where the list ends."""
    a, b, c = remarks
    for kind, text, values in (
        ("scalar", f"3(1 {a} 2 {b} 3 {c})", [1.0, 2.0, 3.0]),
        ("scalar", f"1(5 {a}{c})", [5.0]),
        ("vector", f"2((1 {a} 2 3) {b} (4 5 6) {c})", [[1.0, 2, 3], [4, 5, 6]]),
        ("scalar", f"2{{7 {a}{c}}}", [7.0, 7.0]),
    ):
        cursor = cursor_of(f'{text} "http://x" // the end'.encode())
        np.testing.assert_array_equal(lists.read(cursor, kind, None), values)
        assert cursor.peek() == b'"' and cursor.string() == "http://x" and cursor.peek() == b""
    cursor = cursor_of(f"2(3(0 {a} 1 2) {b} 4(3 4 5 6) {c}) // the end".encode())
    begins, corners = lists.faces(cursor, Header("faceList", False, np.dtype("<i4"), np.dtype("<f8")))
    assert begins.tolist() == [0, 3, 7] and corners.tolist() == list(range(7)) and cursor.peek() == b""
    with pytest.raises(ValueError, match="f: line 3: 'x' in a list"):
        lists.read(cursor_of(f"3(1 {a.strip()}\n\n x 3) // ".replace("// one (1)\n\n", "// one\n\n").encode()), "scalar", None)


def test_faces_of_different_sizes() -> None:
    begins, corners = lists.faces(
        cursor_of(b"3(3(0 1 2)\n4 ( 3 4 5 6 )\n5(7 8 9 10 11))"), read_header(cursor_of(Style().head("faceList", "faces")))
    )
    assert begins.tolist() == [0, 3, 7, 12] and corners.tolist() == list(range(12))


@pytest.mark.parametrize(
    "text", ["2(3(0 1 2) 4(0 1 2))", "2(3(0 1 2))", "2(3(0 1 2) 3(0 1 2) 3(0 1 2))", "1(-1())", "9999999999999999(3(0 1 2))"]
)
def test_faces_that_are_miscounted(text: str) -> None:
    header = read_header(cursor_of(Style().head("faceList", "faces")))
    with pytest.raises(ValueError, match=r"^f: line 1: .*(corners|faces)"):
        lists.faces(cursor_of(text.encode()), header)


def test_values_that_repeat_take_no_memory() -> None:
    tracemalloc.start()
    found = lists.read(cursor_of(b"1000000000000{(1 2 3)}"), "vector", None)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.shape == (10**12, 3) and found[10**11].tolist() == [1, 2, 3] and peak < 1e5


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("count", [10**6, 10**15, 2**62, 10**40])
def test_a_declared_length_is_not_believed(binary: bool, count: int) -> None:
    header = read_header(cursor_of(Style(binary=binary).head("vectorField", "f")))
    data = str(count).encode() + b"(" + b"(1 2 3) " * 200 + b")"
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"^f: line 1: .* (does not fit|is not there)"):
        lists.read(cursor_of(data), "vector", header)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1e5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2((1 2 3) (4 5 6) (7 8 9))", "holds more"),
        ("3((1 2 3) (4 5 6)    )", "declares 9 numbers"),
        ("2((1 2 3) (4 5 6)", "does not close"),
        ("2((1 2 3 4) (5 6))", "not all 3 numbers in brackets"),
        ("2(1 2 3 4 5 6) )", "not all 3 numbers in brackets"),
        ("2((1 2 3) (4 5 six))", "'six' in a list"),
        ("2{(1 2)}", "repeats one value of 3"),
        ("2{(1 2 3)", "repeats one value"),
        ("2[", "expected '\\('"),
    ],
)
def test_text_that_is_not_sound(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lists.read(cursor_of(text.encode()), "vector", None)


def test_a_wrong_arch_is_told() -> None:
    style, wrong = Style(binary=True, scalar=64), Style(binary=True, scalar=32)
    header = read_header(cursor_of(wrong.head("vectorField", "f")))
    with pytest.raises(ValueError, match=r"no \) follows them; .*`arch` in its header wrong"):
        lists.read(cursor_of(style.numbers(np.ones((5, 3)))), "vector", header)


def test_a_packed_file_that_unpacks_to_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "ROOM", 10_000)
    Style(packed=True).save(tmp_path / "f", b"0 " * 10**7)
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"f\.gz: unpacks to more than .* say `gunzip f\.gz`"):
        source.load(tmp_path / "f")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2e7
    (tmp_path / "g.gz").write_bytes((tmp_path / "f.gz").read_bytes()[:-20])
    monkeypatch.setattr(source, "ROOM", 10**8)
    with pytest.raises(ValueError, match=r"g\.gz: is not a sound \.gz file"):
        source.load(tmp_path / "g")


@pytest.mark.parametrize("text", ["", "hello", "FoamFile", "FoamFile { format ascii;", "FoamFile { format xml; class x; }"])
def test_headers_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"^f: "):
        read_header(cursor_of(text.encode()))
