"""What is read of a run: the Strouhal number of a known oscillation, steps of a log, tables of function objects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from surrogates.data.cases import history
from surrogates.data.cases.programs import version_in

LOG = """Build  : OPENFOAM=1912 patch=200626
Courant Number mean: 0.1 max: 0.5
Time = 0.1

Courant Number mean: 0.14 max: {courant}
deltaT = 0.1
Time = 0.2

GAMG:  Solving for p, Initial residual = 0.003, Final residual = 0.0001, No Iterations 4
time step continuity errors : sum local = 5e-06, global = 1e-10, cumulative = -1e-07
GAMG:  Solving for p, Initial residual = 0.0002, Final residual = 8e-07, No Iterations 5
time step continuity errors : sum local = 9e-11, global = 4e-12, cumulative = -1e-07
ExecutionTime = 3.65 s  ClockTime = 16 s
"""


@pytest.mark.parametrize("frequency", [2.95, 3.0, 3.05])
def test_the_strouhal_number_of_a_sine(frequency: float) -> None:
    """To 1e-5 at steps as uneven as those of an adaptive solver, with an offset."""
    steps = np.random.default_rng(0).uniform(5e-4, 2e-3, 3000)
    times = np.cumsum(steps)
    lift = 0.3 + 0.9 * np.sin(2 * np.pi * frequency * times + 1)
    assert history.strouhal(times, lift, 0.1, 1.0) == pytest.approx(0.1 * frequency, rel=2e-4)


def test_a_steady_lift_has_none() -> None:
    times = np.linspace(0, 5, 500)
    assert np.isnan(history.strouhal(times, 0.01 + 1e-5 * np.sin(20 * times), 0.1, 1.0))
    assert np.isnan(history.strouhal(times, np.sin(2 * times), 0.1, 1.0))  # fewer than three periods


def test_a_log_is_read_from_a_time_on() -> None:
    log = history.read_log(LOG.format(courant=0.93), 0.1)
    assert (log.steps, log.courant, log.residual, log.continuity, log.seconds) == (1, 0.93, 8e-7, 9e-11, 3.65)
    assert history.read_log(LOG.format(courant=0.3)).courant == 0.5
    assert version_in(LOG) == "v1912 (patch 200626)"
    with pytest.raises(ValueError, match="no time step"):
        history.read_log("FOAM FATAL ERROR")


def test_forces_are_per_depth(tmp_path: Path) -> None:
    path = tmp_path / "postProcessing/force_obstacle0/0/force.dat"
    path.parent.mkdir(parents=True)
    path.write_text("# Time (total)\n0.1 \t(3 5 0) (1 2 0) (2 3 0)\n0.2 \t(3 5 0) (1 2 0) (2 3 0)\n")
    times, force = history.forces(tmp_path, ["obstacle0"], 0.5)
    assert times.tolist() == [0.1, 0.2] and force[0, 0].tolist() == [[2, 4], [4, 6]]
    path.write_text("# Time (total)\n0.1 (3 5 0) (1 2")
    with pytest.raises(ValueError, match="10 numbers"):
        history.forces(tmp_path, ["obstacle0"], 0.5)
