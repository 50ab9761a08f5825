"""Where tensors are made that outlive the call that needed them first, which may be for inference or for a derivative."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def kept() -> Iterator[None]:
    """What is made here can be kept: no inference mode, no gradients, no `torch.func`, whose wrapped tensors may not leave their call."""
    with torch.inference_mode(False), torch.no_grad(), torch._C._DisableFuncTorch():
        yield
