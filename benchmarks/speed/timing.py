"""Contenders timed in turn in one process, so that a busy machine slows all alike: what counts is the median of paired ratios.

A round runs every contender once. Rounds in which *other* processes took more than a sixth of a core are dropped (Linux: /proc/stat
less this process's own time), as far as enough rounds are left; without /proc nothing is dropped. Times are seconds.

One thread that only computes is timed best by `clock=time.process_time`, the processor time of this process: it does not count waiting
for a core, and equals wall time on an idle machine. With more threads, files or processes only wall time tells.
"""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

import torch

BUSY = 0.15  # cores that others may take in a round that counts


@dataclass(frozen=True)
class Race:
    """Times of every contender in the rounds that count, in the same order for all."""

    times: Mapping[str, list[float]]
    dropped: int
    noise: float  # cores that others took, median over all rounds

    def median(self, name: str) -> float:
        return median(self.times[name])

    def ratio(self, slow: str, fast: str) -> float:
        """Median over rounds of slow/fast: above 1, `fast` is the faster."""
        return median(a / b for a, b in zip(self.times[slow], self.times[fast], strict=True))

    def quartiles(self, slow: str, fast: str) -> tuple[float, float]:
        """The ratio's lower and upper quartile."""
        ratios = [a / b for a, b in zip(self.times[slow], self.times[fast], strict=True)]
        low, _, high = quantiles(ratios, n=4) if len(ratios) > 1 else (ratios[0],) * 3
        return low, high


def race(
    contenders: Mapping[str, Callable[[], object]],
    *,
    seconds: float = 5.0,
    warmup: int = 2,
    rounds: tuple[int, int] = (5, 500),
    clock: Callable[[], float] = time.perf_counter,
) -> Race:
    """Run all in turn for `seconds`, at least and at most so many rounds; the order turns, so that none is always first."""
    names, (fewest, most) = list(contenders), rounds
    for _ in range(warmup):
        for run in contenders.values():
            run()
    times: dict[str, list[float]] = {name: [] for name in names}
    noise: list[float] = []
    end = time.perf_counter() + seconds
    while len(noise) < fewest or (len(noise) < most and time.perf_counter() < end):
        others, start = _others(), time.perf_counter()
        turn = len(noise) % len(names)
        for name in names[turn:] + names[:turn]:
            began = clock()
            contenders[name]()
            times[name].append(clock() - began)
        wall = max(time.perf_counter() - start, 0.02)  # /proc/stat counts in hundredths
        noise.append(max(0.0, _others() - others) / wall)
    order = sorted(range(len(noise)), key=noise.__getitem__)
    count = max(sum(n < BUSY for n in noise), min(fewest, len(noise)))
    keep = sorted(order[:count])
    return Race({name: [t[i] for i in keep] for name, t in times.items()}, len(noise) - len(keep), median(noise))


def grown(run: Callable[[], object], *, calls: int = 2, device: str = "cpu") -> float:
    """MB (1e6 bytes) by which `calls` calls raise memory at their height above what was held before.

    Of the allocator on a GPU; of this process on Linux, where only a fresh process tells, since freed memory stays with it; else NaN.
    """
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()
        for _ in range(calls):
            run()
        return (torch.cuda.max_memory_allocated() - held) / 1e6
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts from here; `getrusage` starts at the parent's
    except OSError:
        return float("nan")
    held = _resident("VmRSS")
    for _ in range(calls):
        run()
    return (_resident("VmHWM") - held) * 1024 / 1e6


def _resident(name: str) -> int:
    """kB of this process, as Linux counts them."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


def _others() -> float:
    """CPU seconds taken so far by everything but this process and its children."""
    try:
        first = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    except OSError:
        return 0.0
    ticks = [int(v) for v in first]
    own = os.times()
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK") - (own.user + own.system + own.children_user + own.children_system)


def machine() -> dict[str, object]:
    """What a figure needs beside it: commit, machine, torch and threads."""
    return {
        "commit": _commit(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _commit() -> str:
    """The commit of this checkout, with '+' where tracked files differ from it."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=Path(__file__).parent, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def table(title: str, header: tuple[str, ...], rows: list[tuple[object, ...]]) -> None:
    """Print a Markdown table; floats to three figures, 'goal' columns as they are."""
    text = [[f"{v:.3g}" if isinstance(v, float) else str(v) for v in row] for row in rows]
    widths = [max(len(row[i]) for row in [list(header), *text]) for i in range(len(header))]
    print(f"\n{title}\n")
    for row in [list(header), ["-" * w for w in widths], *text]:
        print("| " + " | ".join(v.ljust(w) for v, w in zip(row, widths, strict=True)) + " |", flush=True)
