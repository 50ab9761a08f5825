"""Fields: channels in order, names found or explained."""

import pytest

from surrogates.fields import Field, Fields

FIELDS = Fields.of(Field("pressure", "Pa"), Field("velocity", "m s-1", ("x", "y")), Field("temperature", "K", levels=(500.0, 850.0)))


def test_channels_units_and_slices_agree():
    assert FIELDS.channels == ("pressure", "velocity_x", "velocity_y", "temperature_500", "temperature_850")
    assert FIELDS.units == ("Pa", "m s-1", "m s-1", "K", "K")
    assert FIELDS.count == 5
    for f in FIELDS:
        assert FIELDS.channels[FIELDS.slice(f.name)] == f.channels
    assert Field("wind", components=("u", "v"), levels=(1.0, 2.0)).channels == ("wind_u_1", "wind_u_2", "wind_v_1", "wind_v_2")


def test_json_round_trip():
    assert Fields.from_json(FIELDS.to_json()) == FIELDS


def test_errors():
    with pytest.raises(KeyError, match="did you mean 'velocity'"):
        FIELDS.slice("velocty")
    with pytest.raises(ValueError, match="appear twice"):
        Fields.of(Field("u"), Field("u"))
    with pytest.raises(ValueError, match="must be an identifier"):
        Field("u v")
