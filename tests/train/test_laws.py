"""Laws in a configuration: one inside another, hard and soft, quantities in a list; what does not fit is named; training with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from surrogates.constraints import Alternating, ConservedIntegral, Energy, GaussNewton, Soft, StraightThrough, Total
from surrogates.fields import Field, Fields
from surrogates.record import describe
from surrogates.saved import load_surrogate
from surrogates.train.cli import main, parts_of
from surrogates.train.laws import law_of, soft_of

FIELDS = Fields.of(Field("u"))
MASS = {"class": "ConservedIntegral", "field": "u"}
ENERGY = {"class": "GaussNewton", "quantities": [{"class": "Energy", "field": "u"}, {"class": "Total", "field": "u"}], "iterations": 5}


def test_laws_hold_laws_and_quantities() -> None:
    made = law_of({"class": "Alternating", "laws": [MASS, ENERGY], "sweeps": 9}, "k")(FIELDS)
    newton = GaussNewton(FIELDS, (Energy("u"), Total("u")), iterations=5)
    assert describe(made) == describe(Alternating((ConservedIntegral(FIELDS, "u"), newton), sweeps=9))
    through = law_of({"class": "StraightThrough", "law": {"class": "Clipped", "field": "u"}}, "k")(FIELDS)
    assert isinstance(through, StraightThrough)
    assert describe(soft_of({"law": MASS, "weight": 2}, "k")(FIELDS)) == describe(Soft(ConservedIntegral(FIELDS, "u"), 2.0))


@pytest.mark.parametrize(
    ("laws", "soft", "message"),
    [
        ([{"class": "Alternating", "laws": [{"class": "ConservedIntegrals"}]}], None, r"laws\[0\]\.laws\[0\]\.class: no class"),
        ([{"class": "Alternating", "laws": MASS}], None, r"laws\[0\]\.laws: expected a list of laws"),
        ([{"class": "StraightThrough", "law": [MASS]}], None, r"laws\[0\]\.law: expected one law"),
        ([{**ENERGY, "quantities": [{"class": "Energi"}]}], None, r"laws\[0\]\.quantities\[0\]\.class: no class 'Energi'"),
        ([{"class": "Energy", "field": "u"}], None, r"laws\[0\]\.class: Energy is no law; it is a quantity of one: {class: GaussNewton"),
        (["Enstrophy"], None, r"laws\[0\]\.class: Enstrophy is no law"),
        ([{"class": "Within", "field": "u"}], None, r"laws\[0\]\.class: Within is no law; it is a functional of one"),
        ([{"class": "Soft", "law": MASS, "weight": 1}], None, r"laws\[0\]\.class: Soft is no law; write {law: \.\.\., weight: 0\.1} under"),
        (["StraightThrough"], None, r"laws\[0\]: StraightThrough needs law; it takes `law: {class"),
        ([{"class": "InOrder"}], None, r"laws\[0\]: InOrder needs laws; it takes `laws: \[{class"),
        ([{"class": "InOrder", "law": MASS}], None, r"laws\[0\]\.law: InOrder takes `laws: \["),
        ([{**MASS, "law": MASS}], None, r"laws\[0\]\.law: ConservedIntegral takes no laws inside it"),
        (None, [{"law": "Energy", "weight": 1.0}], r"soft\[0\]\.law\.class: Energy is no law"),
        (None, [{"law": {**MASS, "laws": [MASS]}, "weight": 1.0}], r"soft\[0\]\.law\.laws: ConservedIntegral takes no laws"),
        (None, [MASS], r"soft\[0\]: expected a law and a weight"),
        (None, [{"law": MASS, "weight": -1.0}], r"soft\[0\]\.weight: -1\.0 is no positive number"),
        (None, [{"law": MASS, "weight": 1.0, "field": "u"}], r"soft\[0\]\.field: a soft law has a law and a weight"),
    ],
)
def test_what_does_not_fit_is_named(laws: Any, soft: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parts_of("FNO", None, laws, "OneStep", None, soft=soft)


CONFIG = """
data: {dataset: DATA, batch_size: 4}
model:
  operator: {class: ConvNet, dim: 1, width: 4, layers: 1}
  laws: [{class: Alternating, laws: [{class: ConservedIntegral, field: u}, {class: Clipped, field: u, lower: -9}]}]
  soft: [{law: {class: ConservedIntegral, field: u}, weight: 5}]
steps: 2
trainer: {validate_every: 0, tensorboard: false, progress: false, accelerator: cpu}
"""


@pytest.mark.parametrize("laws", ["{class: ConservedIntegral, field: u}", "DivergenceFree"])
def test_one_law_needs_no_list(laws: str, tmp_path: Path) -> None:
    """As a head does; what is wrong with it is named without the list's brackets. The data, last, are missing."""
    file = tmp_path / "one.yaml"
    soft = "{law: {class: ConservedIntegral, field: u}, weight: 5}"
    file.write_text(f"data: {{dataset: nowhere/else.hdf5}}\nmodel: {{operator: FNO, laws: {laws}, soft: {soft}}}\nsteps: 1\n")
    with pytest.raises(Exception, match="no such file or folder"):
        main(["--config", str(file), "--out", str(tmp_path / "run")])
    with pytest.raises(ValueError, match=r"model.laws\.class: no class 'Nothing'"):
        parts_of("FNO", None, {"class": "Nothing"}, "OneStep", None)
    made = parts_of("FNO", None, MASS, "OneStep", None, soft={"law": MASS, "weight": 5})
    assert describe(made["laws"][0](FIELDS)) == describe(ConservedIntegral(FIELDS, "u")) and made["soft"][0](FIELDS).weight == 5.0


def test_a_file_trains_with_hard_and_soft_laws_which_are_saved(stored: Path, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(CONFIG.replace("DATA", str(stored)))
    made = main(["--config", str(tmp_path / "c.yaml"), "--out", str(tmp_path / "run")]).surrogate
    again = load_surrogate(tmp_path / "run")
    assert describe(again) == describe(made)
    assert again.soft[0].weight == 5.0 and isinstance(again.constraint, Alternating)
    assert again.constraint.names == ("ConservedIntegral-u", "Clipped-u")
