"""Two effects of the machine that outweigh any kernel, and the settings that undo them.

Page faults: glibc maps every block above 32 MB afresh and returns it when freed, so each large tensor is faulted in page by page.
With M_MMAP_MAX = 0 and high trim and padding marks, freed blocks stay with the process and are used again (mallopt(3)). Aligned
blocks wander by their alignment at first (glibc 2.36: up to ten times the block), then the heap has holes that fit and stays as it is.

Spinning: GNU OpenMP threads wait for work in a busy loop. Where another process holds a core, each parallel region then costs
milliseconds; GOMP_SPINCOUNT bounds the loop. It is read when libgomp is loaded, that is when torch is.
"""

from __future__ import annotations

import ctypes
import os

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # <malloc.h>
SETTINGS = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: 2**31 - 1, M_TOP_PAD: 64 << 20}
ENVIRONMENT = {"GOMP_SPINCOUNT": "10000", "THP_MEM_ALLOC_ENABLE": "1"}

allocator = "untouched"
"""What `tune_allocator` did, in words; `surrogates doctor` prints it."""


def tune_allocator() -> None:
    """Keep freed memory with the process (glibc only); SURROGATES_ALLOCATOR=0 opts out. Never raises."""
    global allocator
    if os.environ.get("SURROGATES_ALLOCATOR", "1") == "0":
        allocator = "untouched (SURROGATES_ALLOCATOR=0)"
        return
    try:
        glibc = (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
        mallopt = ctypes.CDLL("libc.so.6").mallopt if glibc else None
    except (AttributeError, OSError, ValueError):  # no confstr, no such library, no such name: another platform
        mallopt = None
    if mallopt is None:
        allocator = "untouched (not glibc)"
        return
    accepted = [mallopt(option, value) for option, value in SETTINGS.items()]
    allocator = "tuned" if all(accepted) else "untouched (mallopt refused)"


def prepare_environment() -> None:
    """Set what torch and OpenMP read when they load; what the user has set stays. Call it before torch is imported."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
