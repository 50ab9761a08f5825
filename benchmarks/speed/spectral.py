"""Speed of the Kolmogorov solver: against torch-cfd with the same scheme (G8), against its own transforms (G9), at equal accuracy, and
as a maker of truth.

    python benchmarks/speed/spectral.py [--json spectral.json] [--seconds 4] [--only g8 g9 accuracy truth]

torch-cfd is optional: `pip install --no-deps torch-cfd` (it needs no more than torch here). Ratios are medians of paired rounds, one
thread and processor time unless said; above 1, ours is the faster. torch-cfd's mask and ours differ by one mode at most; the answers
are compared first.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from functools import partial
from math import pi
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import torch
from timing import Race, machine, race, table
from torch import Tensor

from surrogates.contracts import Conditions
from surrogates.domains import Box
from surrogates.pde import Kolmogorov, etdrk2, etdrk4, rk4_crank_nicolson
from surrogates.pde.etd import Scheme

FLOW = {"viscosity": 1e-3, "drag": 0.1, "forcing": 1.0, "wavenumber": 4}
SCHEMES: dict[str, tuple[Scheme, int]] = {"RK4CN": (rk4_crank_nicolson, 5), "ETDRK2": (etdrk2, 2), "ETDRK4": (etdrk4, 4)}  # N a step
DT = 1e-3
G8 = {(64, 1): 5.0, (128, 1): 3.2, (64, 16): 1.8}
G9 = {64: 0.5, 128: 0.6}


def timed(contenders: Mapping[str, Callable[[], object]], seconds: float, rounds: tuple[int, int] = (5, 500)) -> Race:
    """Processor time with one thread, wall time with more."""
    return race(contenders, seconds=seconds, rounds=rounds, clock=process_time if torch.get_num_threads() == 1 else perf_counter)


def flow(n: int, rows: int, dtype: torch.dtype, frame: float) -> tuple[Tensor, Conditions]:
    """Initial velocities (B, 2, n, n) and conditions with frames of the given length."""
    box, ones = Box.periodic((n, n), 2 * pi), torch.ones(rows, dtype=torch.float64)
    conditions = Conditions(box, 0 * ones, frame * ones, torch.zeros(rows, 0, dtype=torch.float64))
    return Kolmogorov(max_dt=DT).initial(box, range(rows), 0).to(dtype), conditions


def ours(scheme: Scheme, n: int, rows: int, dtype: torch.dtype, steps: int = 1, dt: float = DT) -> Callable[[], Tensor]:
    """A run of `steps` time steps of our solver, spectrum to spectrum as torch-cfd's, from the same state each time."""
    u, conditions = flow(n, rows, dtype, steps * dt)
    step = Kolmogorov(max_dt=dt, scheme=scheme, **FLOW)
    start = step.begin(u.unsqueeze(1), conditions)["spectrum"]
    (plan,) = step.plan(conditions, step.box(conditions), start)

    def run() -> Tensor:
        w = start
        for _ in range(steps):
            w = plan.advance(w, plan.nonlinear)
        return w

    return run


def torch_cfd(n: int, rows: int, dtype: torch.dtype, steps: int = 1) -> Callable[[], Tensor]:
    """The same with torch-cfd's RK4-Crank-Nicolson; it keeps an rfft2 spectrum of vorticity, unscaled. Raises ImportError without it."""
    from torch_cfd.forcings import KolmogorovForcing
    from torch_cfd.grids import Grid
    from torch_cfd.spectral import NavierStokes2DSpectral, RK4CrankNicolsonStepper

    grid = Grid((n, n), domain=((0, 2 * pi), (0, 2 * pi)))
    force = KolmogorovForcing(grid=grid, scale=FLOW["forcing"], wave_number=int(FLOW["wavenumber"]), swap_xy=False)
    peer = NavierStokes2DSpectral(
        FLOW["viscosity"], grid, drag=FLOW["drag"], smooth=True, forcing_fn=force, step_fn=RK4CrankNicolsonStepper()
    )
    peer = peer.to(dtype)
    u, conditions = flow(n, rows, dtype, DT)
    start = torch.fft.rfft2(Box.vorticity(conditions.domain, u)[:, 0])
    return lambda: peer(start, DT, steps)[0]


def agreement(dtype: torch.dtype = torch.float64, steps: int = 20) -> float:
    """Largest relative difference of the two vorticities after some steps of the same scheme, 64^2."""
    peer = torch.fft.irfft2(torch_cfd(64, 1, dtype, steps)())
    step, (_, conditions) = Kolmogorov(max_dt=DT, **FLOW), flow(64, 1, dtype, DT)
    u = step.decode(ours(rk4_crank_nicolson, 64, 1, dtype, steps)(), conditions.domain, (64, 64))
    mine = Box.vorticity(conditions.domain, u)[0, 0]
    return float((peer[0] - mine).abs().max() / mine.abs().max())


def against_torch_cfd(seconds: float) -> list[dict[str, Any]]:
    """G8, with the other schemes' rates beside it, float32."""
    out = []
    for n, rows in [*G8, (128, 16), (256, 1)]:
        contenders: dict[str, Callable[[], object]] = {"torch-cfd RK4CN": torch_cfd(n, rows, torch.float32)}
        contenders |= {name: ours(scheme, n, rows, torch.float32) for name, (scheme, _) in SCHEMES.items()}
        result = timed(contenders, seconds)
        rates = {name: rows / result.median(name) for name in contenders}
        ratios = {name: result.ratio("torch-cfd RK4CN", name) for name in SCHEMES}
        out.append({"n": n, "batch": rows, "rates": rates, "ratios": ratios, "goal": G8.get((n, rows)), "noise": result.noise})
    table(
        "G8: torch-cfd / ours, float32; then steps x batch / s",
        ("grid", "batch", "same scheme", "goal", "ETDRK2", "ETDRK4", "torch-cfd", "RK4CN", "ETDRK2", "ETDRK4", "others' cores"),
        [(f"{r['n']}^2", r["batch"], r["ratios"]["RK4CN"], r["goal"] or "-", *list(r["ratios"].values())[1:],
          *(f"{v:.0f}" for v in r["rates"].values()), r["noise"]) for r in out],
    )  # fmt: skip
    return out


def transforms(n: int, rows: int, dtype: torch.dtype) -> Mapping[str, Callable[[], object]]:
    """One evaluation's transforms and nothing else: plain (two real pairs, whole spectra) and packed (one complex pair)."""
    half = torch.randn(2, rows, n, n // 2 + 1, dtype=dtype.to_complex())
    real, full = torch.randn(2, rows, n, n, dtype=dtype), torch.randn(rows, n, n, dtype=dtype.to_complex())
    return {
        "plain": lambda: (torch.fft.irfft2(half), torch.fft.rfft2(real)),
        "packed": lambda: (torch.fft.ifft2(full), torch.fft.fft2(full)),
    }


def against_transforms(seconds: float) -> list[dict[str, Any]]:
    """G9: the time of the transforms over that of a step."""
    out = []
    for n in (64, 128, 256):
        for dtype in (torch.float32, torch.float64):
            steps = {name: ours(scheme, n, 1, dtype) for name, (scheme, _) in SCHEMES.items()}
            bounds = transforms(n, 1, dtype)
            result = timed({**steps, **bounds}, seconds)
            ratios = {(s, b): k * result.ratio(b, s) for s, (_, k) in SCHEMES.items() for b in bounds}
            rate = {name: 1 / result.median(name) for name in SCHEMES}
            entry = {"n": n, "dtype": str(dtype).removeprefix("torch."), "rates": rate, "goal": G9.get(n), "noise": result.noise}
            out.append({**entry, "ratios": {f"{b}/{s}": r for (s, b), r in ratios.items()}})
    table(
        "G9: time of the transforms alone / time of a step, batch 1",
        ("grid", "precision", "plain / RK4CN", "goal", "packed / RK4CN", "plain / ETDRK4", "packed / ETDRK4", "others' cores"),
        [(f"{r['n']}^2", r["dtype"], r["ratios"]["plain/RK4CN"], r["goal"] or "-", r["ratios"]["packed/RK4CN"],
          r["ratios"]["plain/ETDRK4"], r["ratios"]["packed/ETDRK4"], r["noise"]) for r in out],
    )  # fmt: skip
    return out


def at_equal_accuracy(seconds: float, n: int = 64, time: float = 1.0, wanted: float = 1e-4) -> list[dict[str, Any]]:
    """The longest step of 1/10, 1/20, ... with a relative error below `wanted` at `time`, and what the run then costs; float64."""

    def run(scheme: Scheme, steps: int) -> Tensor:
        return ours(scheme, n, 1, torch.float64, steps, time / steps)()

    exact = run(etdrk4, 2560)
    contenders: dict[str, Callable[[], object]] = {}
    out = []
    for name, (scheme, evaluations) in SCHEMES.items():
        for steps in (10 * 2**i for i in range(8)):
            error = float((run(scheme, steps) - exact).norm() / exact.norm())
            if error < wanted:
                contenders[name] = ours(scheme, n, 1, torch.float64, steps, time / steps)
                out.append({"scheme": name, "steps": steps, "evaluations": steps * evaluations, "error": error})
                break
    result = timed(contenders, seconds, rounds=(3, 50))
    for entry in out:
        entry |= {"seconds": result.median(entry["scheme"]), "ratio": result.ratio("RK4CN", entry["scheme"])}
    table(
        f"Equal accuracy: relative error below {wanted:g} at t = {time:g}, {n}^2, float64",
        ("scheme", "steps", "evaluations", "error", "seconds", "RK4CN / this"),
        [tuple(e[k] for k in ("scheme", "steps", "evaluations", "error", "seconds", "ratio")) for e in out],
    )
    return out


def truth(seconds: float, n: int = 128, total: int = 36) -> list[dict[str, Any]]:
    """Steps x batch / s of float64 ETDRK4 by group size: with one thread, then with two (wall time, which others' load spoils)."""
    groups, before, out = (1, 2, 4, 9, 18, 36), torch.get_num_threads(), []

    def each(run: Callable[[], object], times: int) -> None:
        for _ in range(times):
            run()

    contenders = {str(group): partial(each, ours(etdrk4, n, group, torch.float64), total // group) for group in groups}
    for threads in (1, 2):
        torch.set_num_threads(threads)
        result = timed(contenders, 2 * seconds)
        for group in groups:
            rate, relative = total / result.median(str(group)), result.ratio(str(total), str(group))
            out.append({"group": group, "threads": threads, "rate": rate, "over largest": relative, "noise": result.noise})
    torch.set_num_threads(before)
    table(
        f"Truth: ETDRK4 {n}^2 float64, steps x batch / s by group size and threads",
        ("group", "threads", "steps x batch / s", f"over group {total}", f"{total} x 3600 steps take (s)", "others' cores"),
        [(e["group"], e["threads"], f"{e['rate']:.0f}", e["over largest"], f"{total * 3600 / e['rate']:.0f}", e["noise"]) for e in out],
    )
    return out


def main() -> None:
    parts = {"g8": against_torch_cfd, "g9": against_transforms, "accuracy": at_equal_accuracy, "truth": truth}
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--json", type=Path, help="write the figures, with commit, machine and versions, to this file")
    parser.add_argument("--seconds", type=float, default=4.0, help="time for each race")
    parser.add_argument("--threads", type=int, default=1, help="threads where not said otherwise; goals are judged with one")
    parser.add_argument("--only", nargs="+", choices=parts, default=list(parts), help="which parts to run")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    report: dict[str, Any] = {"machine": machine(), "skipped": {}}
    print(report["machine"])
    with torch.inference_mode():
        try:
            report["agreement with torch-cfd"] = agreement()
            print(f"agreement with torch-cfd after 20 steps: {report['agreement with torch-cfd']:.1e}")
        except ImportError as error:
            report["skipped"]["g8"] = f"torch-cfd is not importable ({error}); pip install --no-deps torch-cfd"
            print("skipped G8:", report["skipped"]["g8"])
        for name in arguments.only:
            if name not in report["skipped"]:
                report[name] = parts[name](arguments.seconds)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
