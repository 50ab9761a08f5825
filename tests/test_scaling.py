"""Which channels share statistics: by field and level, by region, under the measure, and after a transform."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from surrogates.domains import Box, Sphere
from surrogates.fields import Field, Fields
from surrogates.normalise import Moments, Normaliser, Stretch
from surrogates.operators import FNO
from surrogates.record import construct, describe
from surrogates.saved import load, save
from surrogates.scaling import Scaling, scaling_of
from surrogates.surrogate import Surrogate
from surrogates.target import Absolute, Tendency
from surrogates.transforms import Log, SignedPower

FIELDS = Fields.of(Field("wind", "m s-1", ("east", "north"), (500.0, 850.0)), Field("rain", "mm"))


@dataclass
class Source:
    u: Tensor
    split: str = "train"
    measure: Tensor | None = None

    @property
    def channels(self) -> tuple[str, ...]:
        return FIELDS.channels

    def trajectories(self) -> Iterator[Stretch]:
        yield from map(Stretch, self.u)


def states(rows: int = 3, frames: int = 6, shape: tuple[int, ...] = (4, 5)) -> Tensor:
    g = torch.Generator().manual_seed(0)
    wind = torch.randn(rows, frames, 4, *shape, generator=g) * torch.tensor([1.0, 10.0, 2.0, 20.0])[:, None, None] + 3
    return torch.cat([wind, torch.randn(rows, frames, 1, *shape, generator=g).exp()], 2)


@pytest.mark.parametrize(("by", "groups"), [("channel", []), ("level", [[0, 2], [1, 3], [4]]), ("field", [[0, 1, 2, 3], [4]])])
def test_channels_of_a_group_have_the_moments_of_all_their_values(by: str, groups: list[list[int]]) -> None:
    u, scaling = states(), Scaling(by)
    assert scaling.groups(FIELDS) == groups
    fitted = Normaliser.fit(Source(u), scaling, FIELDS)
    for group in groups or [[c] for c in range(5)]:
        values = u[:, :, group].double()
        for c in group:
            assert fitted.state_mean.flatten()[c].item() == pytest.approx(values.mean().item(), rel=1e-5)
            assert fitted.state_std.flatten()[c].item() == pytest.approx(values.std(correction=0).item(), rel=1e-5)


@pytest.mark.parametrize("target", [Tendency(), Absolute()])
def test_transforms_are_undone_and_states_become_normal(target: Tendency | Absolute) -> None:
    u = states(4, 40)
    scaling = Scaling(transforms={"rain": Log(0.1), "wind": SignedPower(0.5)})
    fitted = Normaliser.fit(Source(u), scaling, FIELDS)
    z = fitted.encode(u)
    torch.testing.assert_close(fitted.decode(z), u, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(z.mean((0, 1, 3, 4)), torch.zeros(5), atol=1e-4, rtol=0)
    torch.testing.assert_close(z.std((0, 1, 3, 4), correction=0), torch.ones(5), atol=1e-4, rtol=0)
    v = torch.log1p(u[:, :, 4] / 0.1)
    assert fitted.tendency_std.flatten()[4].item() == pytest.approx(v.diff(dim=1).std(correction=0).item(), rel=1e-4)
    past, future = u[:, 0], u[:, 1:4]
    torch.testing.assert_close(target.decode(target.encode(future, past, fitted), past, fitted), future, rtol=2e-3, atol=2e-3)


def test_every_region_has_statistics_of_its_own() -> None:
    u, land = states(), torch.zeros(4, 5, dtype=torch.int64)
    land[:2], land[3, 4] = 1, 2
    u[:, :, :, :2] = 5 * u[:, :, :, :2] + 100
    fitted = Normaliser.fit(Source(u), Scaling(regions="land", count=3), FIELDS, land)
    z = fitted.encode(u)
    for r in range(3):
        inside = z[..., land == r].transpose(1, 2).flatten(2)
        torch.testing.assert_close(inside.mean((0, 2)), torch.zeros(5), atol=1e-4, rtol=0)
        torch.testing.assert_close(inside.std((0, 2), correction=0), torch.ones(5), atol=1e-4, rtol=0)
    torch.testing.assert_close(fitted.decode(z), u, rtol=1e-4, atol=1e-3)
    again = Normaliser.identity(5, 2, Scaling(regions="land", count=3), FIELDS, (4, 5))
    again.load_state_dict(fitted.state_dict())
    assert torch.equal(again.encode(u), z)
    with pytest.raises(ValueError, match="hold there alone"):
        fitted.encode(u[..., :3])


def test_moments_are_those_under_the_measure_and_of_what_has_any() -> None:
    sphere = Sphere((8, 6))
    u = states(shape=(8, 6))
    fitted = Normaliser.fit(Source(u, measure=sphere.measure))
    mean = (u.double() * sphere.measure).sum((0, 1, 3, 4)) / (sphere.measure.sum() * 18)
    torch.testing.assert_close(fitted.state_mean.flatten().double(), mean, rtol=1e-5, atol=1e-6)
    weights = torch.ones(8, 6)
    weights[0] = 0
    broken = u.clone()
    broken[..., 0, :] = torch.nan
    dry, cut = (Normaliser.fit(Source(v, measure=w)) for v, w in ((broken, weights), (u[..., 1:, :], None)))
    for a, b in zip(dry.buffers(), cut.buffers(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_weighted_moments_add_to_those_of_the_whole() -> None:
    g = torch.Generator().manual_seed(1)
    u, w = torch.randn(20, 2, 7, dtype=torch.float64, generator=g) + 1e6, torch.rand(7, generator=g, dtype=torch.float64)
    joined = sum((Moments.of(part, w) for part in u.split([3, 16, 1])), Moments.none())
    whole = Moments.of(u, w)
    for a, b in ((joined.count, whole.count), (joined.mean, whole.mean), (joined.std, whole.std)):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=0)


def test_what_a_transform_does_not_take_is_named() -> None:
    with pytest.raises(ValueError, match="channel 'wind_east_.*' goes down to .* Log"):
        Normaliser.fit(Source(states()), Scaling(transforms={"wind": Log()}), FIELDS)
    with pytest.raises(ValueError, match="did you mean 'rain'"):
        Normaliser.fit(Source(states()), Scaling(transforms={"rains": Log()}), FIELDS)


def test_a_file_says_it_and_a_surrogate_keeps_it() -> None:
    scaling = scaling_of({"by": "level", "transforms": {"rain": {"class": "Log", "eps": 0.1}}})
    assert scaling == Scaling("level", {"rain": Log(0.1)}) and scaling_of(None) is None
    assert construct(describe(scaling)) == scaling
    made = Surrogate(FIELDS, Box.periodic((4, 5), 1.0), 1.0, operator=torch.nn.Identity(), scaling=scaling)
    u = states()
    made.normaliser.load_state_dict(Normaliser.fit(Source(u), scaling, FIELDS).state_dict())
    torch.testing.assert_close(made.normaliser.encode(u), Normaliser.fit(Source(u), scaling, FIELDS).encode(u))
    assert "Log(mm)" in made.normaliser.table(FIELDS)[4] and "m s-1" in made.normaliser.table(FIELDS)[0]
    for bad, message in (
        ({"bi": "level"}, "unknown key; it has by, transforms, regions"),
        ({"by": "levels"}, "did you mean 'level'"),
        ("level", "expected a mapping"),
    ):
        with pytest.raises(ValueError, match=message):
            scaling_of(bad)


def test_folders_keep_it_and_those_of_before_load(tmp_path: Path) -> None:
    def made(scaling: Scaling | None) -> Surrogate:
        return Surrogate(FIELDS, Box.periodic((4, 5), 1.0), 1.0, operator=FNO(5, 5, 0, width=4, modes=(2, 2), layers=1), scaling=scaling)

    u, land = states(), torch.arange(20).reshape(4, 5) % 3
    scaling = Scaling("level", {"rain": Log(0.1)}, "land", 3)
    first = made(scaling)
    first.normaliser.load_state_dict(Normaliser.fit(Source(u), scaling, FIELDS, land).state_dict())
    again = load(save(first, tmp_path / "new"))
    assert torch.equal(again.normaliser.encode(u), first.normaliser.encode(u)) and again.normaliser.scaling == scaling
    card = (tmp_path / "new" / "card.md").read_text()
    assert "over all 3 regions of `land`" in card and "| rain | Log(mm) |" in card
    config = save(made(None), tmp_path / "old") / "config.json"
    entry = json.loads(config.read_text())
    assert entry["surrogate"]["arguments"].pop("scaling") is None
    config.write_text(json.dumps(entry))
    assert load(tmp_path / "old").normaliser.scaling is None
