"""A recorded object is written down and built again; a stranger's file builds nothing of its own."""

import json

import pytest
import torch

from surrogates.domains import Box, Mesh, Sphere
from surrogates.fields import Field, Fields
from surrogates.record import construct, describe
from surrogates.target import Tendency


def test_round_trip_through_json():
    value = {
        "target": Tendency(),
        "box": Box.periodic((4, 4), 1.0),
        "fields": Fields.of(Field("u", "m")),
        "numbers": (1, 2.5, None, True, "x"),
    }
    again = construct(json.loads(json.dumps(describe(value))))
    assert again["box"] == value["box"] and again["fields"] == value["fields"] and again["numbers"] == value["numbers"]
    assert isinstance(again["target"], Tendency)


@pytest.mark.parametrize(
    "path",
    [
        "os.system",
        "builtins.eval",
        "surrogatesevil.Thing",
        "surrogates.record.importlib",
        "surrogates.record.nothing",
        "surrogates.saved.os",
    ],
)
def test_only_own_recorded_classes_are_built(path):
    with pytest.raises(ValueError, match=r"outside the package|unknown to this version|not a class"):
        construct({"class": path, "arguments": {}})


def test_a_class_that_is_not_recorded_is_refused():
    with pytest.raises(ValueError, match="may build"):
        construct({"class": "surrogates.forecast.zarr_sink.ZarrSink", "arguments": {}})


def test_wrong_arguments_and_unwritable_objects_are_explained():
    with pytest.raises(ValueError, match="does not take"):
        construct({"class": "surrogates.target.Tendency", "arguments": {"wrong": 1}})
    with pytest.raises(TypeError, match="decorate its class"):
        describe(object())


@pytest.mark.parametrize(
    "domain",
    [
        Box.periodic((8, 4), 2.0),
        Sphere((6, 12), grid="legendre-gauss", radius=6.4e6, units="m"),
        Mesh.from_cells([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], [[0, 1, 2], [1, 3, 2]], {"inlet": [0, 2]}, units="m"),
    ],
)
def test_every_kind_of_domain_is_written_down_and_read_again(domain: Box | Sphere | Mesh) -> None:
    again = construct(json.loads(json.dumps(describe(domain))))
    assert type(again) is type(domain) and describe(again) == describe(domain) and torch.equal(again.measure, domain.measure)
