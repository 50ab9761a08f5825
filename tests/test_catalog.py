"""Declarations are found by name, in a checkout or in a wheel; data go where the user says."""

from __future__ import annotations

from pathlib import Path

import pytest

from surrogates import catalog


def test_every_data_set_here_is_found() -> None:
    assert {"kolmogorov2d", "kuramoto_sivashinsky", "burgers", "kdv"} <= set(catalog.names("datasets"))
    for name in catalog.names("datasets"):
        assert catalog.find("datasets", name).is_file()


def test_a_wheel_carries_its_declarations_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "surrogates"
    recipe = package / "_share" / "datasets" / "inside" / "recipe.yaml"
    outside = tmp_path / "datasets" / "outside" / "recipe.yaml"
    for path in (recipe, outside):
        path.parent.mkdir(parents=True)
        path.touch()
    monkeypatch.setattr(catalog, "__file__", str(package / "catalog.py"))
    assert catalog.names("datasets") == ["inside"]
    assert catalog.names("benchmarks") == []
    (package / "_share").rename(package / "_gone")
    assert catalog.names("datasets") == ["outside"]


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'kolmogorov2d'"):
        catalog.find("datasets", "kolmogorov_2d")


def test_an_unknown_kind_gets_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'datasets'"):
        catalog.names("dataset")


def test_data_go_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SURROGATES_DATA", str(tmp_path))
    assert catalog.data_root() == tmp_path
    monkeypatch.delenv("SURROGATES_DATA")
    for platform, variable in (("linux", "XDG_DATA_HOME"), ("win32", "LOCALAPPDATA")):
        monkeypatch.setattr(catalog.sys, "platform", platform)
        monkeypatch.setenv(variable, str(tmp_path / platform))
        assert catalog.data_root() == tmp_path / platform / "surrogates"
    monkeypatch.setattr(catalog.sys, "platform", "darwin")
    assert catalog.data_root().parts[-3:] == ("Library", "Application Support", "surrogates")
