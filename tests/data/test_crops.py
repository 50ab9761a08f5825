"""Pieces of a box: the right points in the right place, the halo outside every mean, the same piece for the same step."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import xarray as xr

from surrogates.contracts import Conditions
from surrogates.data.crops import Crops
from surrogates.data.module import DataModule
from surrogates.data.windows import Batch
from surrogates.domains import Box, Masked, Sphere
from surrogates.domains.crop import Crop
from surrogates.domains.ends import open_ends
from surrogates.operators import UNet
from surrogates.surrogate import member_loss


def batch_on(domain: Box | Masked) -> Batch:
    """Frames that hold the coordinates of their points."""
    box = domain.box if isinstance(domain, Masked) else domain
    u = torch.stack(box.grid()).float()[None, None].expand(2, 1, -1, *box.shape)
    zero = torch.zeros(2, dtype=torch.float64)
    return Batch(u, u, Conditions(domain, zero, zero + 1, torch.zeros(2, 0), static=u[:, 0]), torch.arange(2))


EDGES = tuple(float(v) for v in torch.linspace(0, 1, 11, dtype=torch.float64).square())
BOXES = [Box.periodic((12, 10), (6.0, 5.0)), Box((12, 10), (0.0, 0.0), (6.0, 1.0), ("periodic", "wall"), (None, EDGES))]


@pytest.mark.parametrize("box", BOXES)
def test_a_piece_knows_where_it_lies(box: Box) -> None:
    crops, places = Crops((6, 10), halo=1), set()
    for step in range(12):
        made = crops(batch_on(box), 0, step)
        crop = made.conditions.domain
        assert isinstance(crop, Crop) and isinstance(crop.grid, Box) and made.past.shape == (2, 1, 2, 6, 10)
        here = crop.grid.grid()
        for a in range(2):
            off = (here[a].float() - made.past[0, 0, a]) % box.lengths[a]
            assert torch.minimum(off, box.lengths[a] - off).max() < 1e-5
        assert torch.equal(made.past[:, 0], made.conditions.static)
        assert crop.halo == ((1, 1), (0, 0)) and crop.grid.boundary[1] == box.boundary[1]
        assert open_ends(crop) == ("x_lower", "x_upper"), "its cuts, and no other end"
        places.add(float(made.past[0, 0, 0, 0, 0]))
    assert len(places) > 4
    one, again = crops(batch_on(box), 0, 3), crops(batch_on(box), 0, 3)
    assert torch.equal(one.past, again.past)


def test_an_inflow_of_the_whole_box_is_none_of_a_piece() -> None:
    batch = batch_on(BOXES[0])
    flowing = replace(batch, conditions=replace(batch.conditions, inflow=lambda t: torch.zeros(2, 2, 12, 10)))
    with pytest.raises(ValueError, match="an inflow enters through the boundary of the whole box"):
        Crops((6, 10), halo=1)(flowing, 0, 0)


def test_walls_that_are_real_have_no_halo() -> None:
    box = Box((12,), (0.0,), (1.0,), ("wall",))
    u = torch.zeros(1, 1, 1, 12)
    time = torch.zeros(1, dtype=torch.float64)
    batch = Batch(u, u, Conditions(box, time, time + 1, torch.zeros(1, 0)), torch.arange(1))
    seen = {}
    for step in range(40):
        crop = Crops((5,), 2)(batch, 1, step).conditions.domain
        seen[round(crop.grid.lower[0] * 12)] = crop.halo
    assert seen[0] == ((0, 2),) and seen[7] == ((2, 0),) and seen[3] == ((2, 2),)


def test_the_halo_has_no_say() -> None:
    grid = Box.periodic((8, 8), 1.0)
    crop = Crop(Box((8, 8), (0.0, 0.0), (1.0, 1.0), ("wall", "wall")), ((2, 2), (1, 3)))
    error = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    inside = error[:, :, 2:6, 1:5].flatten(1).mean(1)
    torch.testing.assert_close(member_loss(error, crop), inside)
    error[:, :, :2] = 1e9
    torch.testing.assert_close(member_loss(error, crop), inside)
    torch.testing.assert_close(crop.average(torch.ones(1, 1, 8, 8)), torch.ones(1, 1, dtype=torch.float64))
    with pytest.raises(ValueError, match="leaves nothing"):
        Crop(grid, ((4, 4), (0, 0)))


def test_land_comes_with_the_piece_and_a_piece_has_water() -> None:
    wet = torch.zeros(12, 10, dtype=torch.bool)
    wet[2:5, 3:6] = True
    for step in range(6):
        crop = Crops((6, 6), 1)(batch_on(Masked(BOXES[0], wet)), 2, step).conditions.domain
        assert crop.mask is not None and bool(crop.measure.any()) and bool((crop.measure[~crop.mask] == 0).all())


def test_networks_see_the_whole_piece() -> None:
    made = Crops((8, 8), 2)(batch_on(Box.periodic((12, 10), 1.0)), 0, 0)
    network = UNet(2, 2, width=8, dim=2, multipliers=(1, 2), blocks=1)
    loss = member_loss(network(made.past[:, 0], made.conditions.domain).square(), made.conditions.domain).sum()
    loss.backward()
    assert loss.isfinite()


def test_training_batches_are_pieces_and_validation_is_whole(dataset: xr.Dataset) -> None:
    data = DataModule({"train": dataset, "valid": dataset}, crop=Crops((4, 3), 1), batch_size=4)
    assert next(iter(data.train_dataloader())).past.shape[-2:] == (4, 3)
    assert next(iter(data.val_dataloader())).past.shape[-2:] == (6, 4)
    with pytest.raises(ValueError, match=r"pieces of \[9, 3\] points do not fit a grid of \[6, 4\]"):
        DataModule({"train": dataset}, crop=Crops((9, 3))).train_dataloader()
    with pytest.raises(ValueError, match="not from a Sphere"):
        Crops((2, 2))(
            Batch(
                torch.zeros(1, 1, 1, 4, 8),
                torch.zeros(1, 1, 1, 4, 8),
                Conditions(Sphere((4, 8)), *(torch.ones(1, dtype=torch.float64),) * 2, torch.zeros(1, 0)),
                torch.arange(1),
            ),
            0,
            0,
        )
    with pytest.raises(ValueError, match="hold nothing"):
        Crops((4, 4), 2)
