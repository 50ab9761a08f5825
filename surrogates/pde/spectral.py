"""Pseudo-spectral solvers on periodic boxes: u_t = L u + N(u), L diagonal in Fourier space, N made of products on the grid.

Of n grid points the modes |k| <= K = (n - 1)//3 are carried: products of two of them alias only onto modes above K, which are cut
(the 2/3 rule; Orszag, J. Atmos. Sci. 28 (1971) 1074). How they advance in time is said in `surrogates.pde.exponential`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from surrogates.contracts import Conditions
from surrogates.domains import Box
from surrogates.pde.coefficients import Constant
from surrogates.pde.etd import Scheme
from surrogates.pde.exponential import Exponential
from surrogates.pde.lyapunov import turnover_time
from surrogates.pde.solver import points


class Spectral(Exponential[Box]):
    """A truth solver on a periodic box of `dim` axes. `resolution` is the solver's own grid (None: that of the data).

    State: `spectrum` (B, F, *K) complex, norm "forward", and `step`, the number of calls made.
    """

    dim: ClassVar[int]

    def __init__(
        self,
        resolution: int | Sequence[int] | None,
        max_dt: float,
        scheme: Scheme,
        dtype: torch.dtype | str | None,
        parameters: Mapping[str, Constant],
    ) -> None:
        super().__init__(max_dt, scheme, dtype, parameters)
        self.resolution = points(resolution, self.dim)

    @abstractmethod
    def encode(self, u: Float[Tensor, "B C *Y"], box: Box) -> Complex[Tensor, "B F *K"]:
        """The state's spectrum, for a solver on `box`, of physical fields at any resolution."""

    @abstractmethod
    def decode(self, spectrum: Complex[Tensor, "B F *K"], box: Box, shape: tuple[int, ...]) -> Float[Tensor, "B C *Y"]:
        """Physical fields at any resolution from the state's spectrum on `box`."""

    @abstractmethod
    def initial(
        self, domain: Box, trajectories: Sequence[int], seed: int, *, peak: float | int = 4.0, rms: float | int = 1.0
    ) -> Float[Tensor, "B C *X"]:
        """Random initial states, float64: the same for a trajectory in any batch and at any resolution."""

    def turnover_time(self, u: Float[Tensor, "B C *X"], domain: Box) -> Float[Tensor, " B"]:
        """That of a state on any grid (`surrogates.pde.lyapunov`)."""
        return turnover_time(u, domain)

    # -- what the modes are ------------------------------------------------------------------------------------

    def grid(self, conditions: Conditions) -> Box:
        return self.box(conditions)

    def analysed(self, u: Float[Tensor, "B C *Y"], here: Box, box: Box) -> Complex[Tensor, "B F *K"]:
        return self.encode(u, box)

    def synthesised(self, spectrum: Complex[Tensor, "B F *K"], box: Box, there: Box) -> Float[Tensor, "B C *Y"]:
        return self.decode(spectrum, box, there.shape)

    def resample(self, u: Float[Tensor, "B C *Y"], here: Box, there: Box) -> Float[Tensor, "B C *Z"]:
        """The same state on another grid of the same box."""
        return here.resample(u, there.shape)

    def box(self, conditions: Conditions) -> Box:
        """The domain at the solver's resolution. Raises ValueError where it is no periodic box of the right dimension, or too coarse."""
        domain, name = conditions.domain, type(self).__name__
        if not isinstance(domain, Box) or domain.dim != self.dim or not domain.all_periodic:
            raise ValueError(f"{name} needs a periodic Box of {self.dim} axes, got {domain}; write Box.periodic(shape, lengths)")
        box = domain if self.resolution is None else domain.with_shape(self.resolution)
        if min(box.shape) < 4:
            raise ValueError(f"{name} at {box.shape} carries no mode but the mean: after the 2/3 rule n points hold |k| <= (n - 1)//3")
        return box


def column(values: Float[Tensor, " R"], like: Tensor) -> Tensor:
    """One value a row, shaped to multiply spectra (R, F, *K) with the axes of `like` (*K) on its device."""
    return values.to(like.device).reshape(-1, 1, *(1,) * like.ndim)


def cutoff(box: Box) -> tuple[int, ...]:
    """The largest mode carried along each axis under the 2/3 rule."""
    return tuple((n - 1) // 3 for n in box.shape)
