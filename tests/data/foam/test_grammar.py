"""The grammar of dictionaries: what OpenFOAM reads is read, what would run or read another file is refused where it is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surrogates.data.foam import Dictionary, parse_dictionary
from surrogates.data.foam.dictionary import Code, Dimensions
from surrogates.data.foam.units import units_of

HERE = Path("case/system/file")


def parse(text: str) -> Dictionary:
    return parse_dictionary(text.encode(), HERE)


def test_entries_comments_and_lists() -> None:
    d = parse(
        """
        // a comment with { and "
        /* another; } */
        application icoFoam; // behind
        endTime 1e-3; count -4; half .5;
        nu nu [0 2 -1 0 0 0 0] 1e-05;
        "quoted \\" string" 1;
        vertices ((0 0 0) (1 0 -1.5));
        libs ("libA.so" libB.so);
        divSchemes { div(phi,U) Gauss linear; div((nuEff*dev2(T(grad(U))))) Gauss linear; default none; }
        inGroups List<word> 2(wall any);
        empty ();
        inner { deep { x 3; } }
        """
    )
    assert d["application"] == "icoFoam" and d["endTime"] == 1e-3 and d["count"] == -4 and d["half"] == 0.5
    assert d["nu"] == ("nu", Dimensions((0, 2, -1, 0, 0, 0, 0)), 1e-05)
    assert d["vertices"] == [[0, 0, 0], [1, 0, -1.5]] and d["libs"] == ["libA.so", "libB.so"] and d["empty"] == []
    assert d["divSchemes"]["div((nuEff*dev2(T(grad(U)))))"] == ("Gauss", "linear")
    assert d["inGroups"] == ["wall", "any"] and d.at("inner.deep.x") == 3


def test_units_by_symbols() -> None:
    d = parse("a [m^2 s^-1] 1; b [kg m^-1 s^-2] 2;")
    assert units_of(d["a"][0].exponents, "") == "m2 s-1" and units_of(d["b"][0].exponents, "") == "kg m-1 s-2"
    with pytest.raises(ValueError, match="furlong"):
        parse("a [furlong s^-1] 1;")


@pytest.mark.parametrize(
    ("symbols", "units"),
    [
        ("", "1"),
        ("1/s", "s-1"),
        ("m/s", "m s-1"),
        ("kg/m/s^2", "kg m-1 s-2"),
        ("Pa", "kg m-1 s-2"),
        ("J/kg/K", "m2 s-2 K-1"),
        ("W*m^-2", "kg s-3"),
        ("N m", "kg m2 s-2"),
        ("rad/s", "s-1"),
        ("m^0.5", "m^0.5"),
    ],
)
def test_units_as_newer_versions_write_them(symbols: str, units: str) -> None:
    assert units_of(parse(f"a [{symbols}] 1;")["a"][0].exponents, "") == units


@pytest.mark.parametrize("symbols", ["mm", "deg", "m/(s K)", "m^x", "m//s", "bar"])
def test_units_with_a_factor_and_nonsense_are_refused(symbols: str) -> None:
    with pytest.raises(ValueError, match="case/system/file: line 1"):
        parse(f"a [{symbols}] 1;")


def test_macros() -> None:
    d = parse(
        """
        speed (1 0 0); base { type fixedValue; n 1; }
        inlet { $base; n 2; value uniform $speed; same $:base.type; up $..speed; here $.n; braces ${speed}; }
        boundaryField { a { value $internalField; } } late $internalField;
        """
    )
    inlet = d["inlet"]
    assert inlet["type"] == "fixedValue" and inlet["n"] == 2 and inlet["value"] == ("uniform", [1, 0, 0])
    assert inlet["same"] == "fixedValue" and inlet["up"] == [1, 0, 0] and inlet["here"] == 2 and inlet["braces"] == [1, 0, 0]
    with pytest.raises(ValueError, match=r"case/system/file: late: \$internalField is not defined above"):
        d["late"]


def test_what_would_run_is_refused_and_the_rest_is_read(tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    d = parse(
        f"""
        before 1;
        x #calc "system(\\"touch {touched}\\")";
        y #codeStream {{ code #{{ system("touch {touched}"); return 1; }} }} #}}; }};
        z #eval{{ 1 + 2 }};
        code #{{ anything ; }} #}};
        after 2;
        """
    )
    assert d["before"] == 1 and d["after"] == 2 and d["code"] == Code(" anything ; } ")
    for key, name in (("x", "#calc"), ("y", "#codeStream"), ("z", "#eval")):
        with pytest.raises(ValueError, match=f"{key}: {name} would run code and is not followed"):
            d[key]
    assert not touched.exists()


def test_what_is_refused_within_brackets_says_why() -> None:
    d = parse("inlet { value uniform (#eval{ 2*3 } 0 0); deep ((1 $x) 2); type fixedValue; }")
    with pytest.raises(ValueError, match="inlet: value: #eval would run code"):
        d.at("inlet.value")
    with pytest.raises(ValueError, match=r"deep: \$x is not defined"):
        d.at("inlet.deep")
    assert d.at("inlet.type") == "fixedValue"


def test_an_include_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text("nu 5;")
    monkeypatch.chdir(tmp_path)
    d = parse('nu 1;\n#include "secret"\nrho 2;\nfield { #includeEtc "caseDicts/setConstraintTypes"\n inlet { type x; } }')
    assert d["rho"] == 2 and d["field"]["inlet"]["type"] == "x"  # set after it
    for key in ("nu", "anything"):  # set before it, which it may have changed, or perhaps by it
        with pytest.raises(ValueError, match="line 2 says #include .*secret.* which is not followed; .*foamDictionary -expand"):
            d[key]
    with pytest.raises(ValueError, match="includeEtc"):
        d["field"]["outlet"]


def test_patterns_as_openfoam_tries_them() -> None:
    d = parse('"in.*" { v 1; } inlet { v 2; } "(left|right)" { v 3; } "i.*t" { v 4; }')
    assert d["inlet"]["v"] == 2 and d["right"]["v"] == 3
    assert d["insert"]["v"] == 4  # the last wins
    with pytest.raises(ValueError, match=r"the pattern '\(a\+\)\+' might be meant"):  # it could take for ever
        parse('"(a+)+" { v 5; }')["a" * 50 + "b"]


def test_a_dictionary_said_twice_is_merged() -> None:
    d = parse("a { x 1; y 1; } a { y 2; } b 1; b 2;")
    assert (d["a"]["x"], d["a"]["y"], d["b"]) == (1, 2, 2)


def test_lists_of_numbers_are_arrays() -> None:
    d = parse("u nonuniform List<vector> 2((1 2 3) (4 5 -6e2)); s List<scalar> 3{1.5}; n List<label> 0(); t nonuniform 0();")
    np.testing.assert_array_equal(d["u"][1], [[1, 2, 3], [4, 5, -600]])
    np.testing.assert_array_equal(d["s"], [1.5, 1.5, 1.5])
    assert d["n"].shape == (0,) and d["t"] == ("nonuniform", [])


BAD = {
    "a 1": "the entry 'a' has no ; at its end",
    "a { b 1;": "the { of 'a' does not close",
    "a (1 2;": r"the \( of this list does not close",
    "a 1; }": "a } that nothing opened",
    'a "x;': "a string begins here and does not end",
    "a 1; /* x": "a comment begins here and does not end",
    "a f(x;": "a bracket in this word does not close",
    "a " + "(" * 100: "nested deeper than 64",
    "a " + "9" * 400 + ";": "a number of 400 digits",
    "a " + "x" * 400 + ";": "a word of 400 letters",
    "a [0 1 2 3 4 5 6 7 8 9];": "expected ']'",
    "a List<vector> 2((1 2 3)      );": "declares 6 numbers",
    "a List<scalar> 99999999999(1);": "does not fit into the 3 bytes left",
    "a List<scalar> 2(1 x);": "'x' in a list of numbers",
    "a List<scalar> -1(1);": "expected the number of entries",
    "a $;": "a \\$ without a name",
    "a #;": "a # that begins neither",
}


@pytest.mark.parametrize("text", BAD)
def test_what_breaks_the_grammar_is_told_with_file_and_line(text: str) -> None:
    with pytest.raises(ValueError, match=rf"^case/system/file: line 2: .*({BAD[text]})"):
        parse("\n" + text)


def test_words_that_double_are_stopped() -> None:
    text = "x 1 1;" + "".join(f"x{n} $x{n - 1} $x{n - 1};" for n in range(1, 40)).replace("$x0", "$x")
    with pytest.raises(ValueError, match="more than 10000 items"):
        parse(text)


NAMES = st.from_regex(r"[a-z]{1,5}", fullmatch=True)
NUMBERS = st.integers(-(10**9), 10**9) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(NUMBERS | NAMES, lambda inner: st.lists(inner, max_size=3), max_leaves=6)
TREES = st.recursive(VALUES, lambda inner: st.dictionaries(NAMES, inner, max_size=4), max_leaves=12)


def written(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + " ".join(f"{k} {written(v)}" + ("" if isinstance(v, dict) else ";") for k, v in value.items()) + " }"
    return f"({' '.join(map(written, value))})" if isinstance(value, list) else str(value) if isinstance(value, str) else repr(value)


def plain(value: Any) -> Any:
    return {k: plain(v) for k, v in value.entries.items()} if isinstance(value, Dictionary) else value


@settings(max_examples=60)
@given(st.dictionaries(NAMES, TREES, max_size=5))
def test_what_is_written_is_read(tree: dict[str, Any]) -> None:
    assert plain(parse(written(tree)[1:-1])) == tree


@pytest.mark.parametrize(
    ("exponents", "units"),
    [
        ((0, 0, 0, 0, 0, 0, 0), "1"),
        ((1, -1, -2, 0, 0, 0, 0), "kg m-1 s-2"),
        ((0, 0.5, 0, 1, 0), "m^0.5 K"),
        ((0, 2, -2, -1, 0, 0, 0), "m2 s-2 K-1"),
    ],
)
def test_units(exponents: tuple[float, ...], units: str) -> None:
    assert units_of(exponents, "f") == units


@pytest.mark.parametrize("exponents", [(1, 2), (0, 1e30, 0, 0, 0, 0, 0), (0, float("nan"), 0, 0, 0, 0, 0)])
def test_absurd_units(exponents: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="f: dimensions .* a velocity has"):
        units_of(exponents, "f")
