"""What velocities from potentials have in common: where they start, what an output of 1 stands for, and the mean flow.

    u' = P u + curl A,    A = l s y,

with P u the divergence-free part of the last frame (`constraints.DivergenceFree`; a lawful frame is its own, so that y = 0 is persistence,
and rounding does not add up over a rollout), l the length of the domain over 2 pi (a Sphere's radius) and s the fitted standard deviation
of the velocity's increments between frames, rms over the components. An output of 1 on the scale of the domain then moves the velocity as
far as it moves in a frame; n times finer, an output of 1/n does.

The mean flow, which no potential on a torus makes, stays as it is, or follows one further output for each periodic axis: `mean_flow`
adds the output's average over the domain, in units of that component's own increments. Through a wall there is none.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.constraints.channels import Channels
from surrogates.constraints.divergence import DivergenceFree
from surrogates.contracts import Conditions, Domain
from surrogates.domains import Box
from surrogates.domains.box import AXES, PERIODIC
from surrogates.domains.ends import check_closed
from surrogates.fields import Fields
from surrogates.heads.decode import check, length_of
from surrogates.normalise import Normaliser


class Potential(ABC):
    """A Head for the vector `field`: a subclass says how many components it and its potential have, and what the curl is."""

    dim: int
    components: int

    def __init__(self, fields: Fields, field: str = "velocity", *, mean_flow: bool = False) -> None:
        entry, name = fields[field], type(self).__name__
        if len(entry.components) != self.dim or entry.levels:
            raise ValueError(
                f"{field!r} has components {entry.components} and levels {entry.levels}; {name} makes the {self.dim} components of a "
                f"vector, such as Field({field!r}, components={AXES[: self.dim]}), without levels"
            )
        self.name, self.channels, self.mean_flow = name, Channels.of(fields, field), mean_flow
        self.law = DivergenceFree(fields, field)

    @property
    def made(self) -> tuple[int, ...]:
        """The channels of the state that it makes."""
        return tuple(range(self.channels.start, self.channels.stop))

    def outputs(self, domain: Domain) -> int:
        """The components of the potential, and with `mean_flow` the number of periodic axes. Raises ValueError for a domain not taken."""
        return self.components + len(self.means(domain))

    def sizes(self, normaliser: Normaliser, domain: Domain, dt: float) -> Float[Tensor, " Cy"]:
        """What an output of 1 stands for: velocity times length, then velocities."""
        s = normaliser.tendency_std.flatten()[self.channels.start : self.channels.stop]
        potential = (length_of(domain) * s.square().mean().sqrt()).expand(self.components)
        return torch.cat([potential, s[self.means(domain)]])

    def __call__(self, y: Float[Tensor, "B Cy *X"], past: Float[Tensor, "B H C *X"], conditions: Conditions) -> Float[Tensor, "B C *X"]:
        """The last frame with its velocity moved; transforms in the type of the frame (float32 for half types)."""
        domain, last = conditions.domain, past[:, -1]
        periodic = self.means(domain)
        check(self.name, y, self.components + len(periodic), last, self.channels.count)
        last = self.law(last, self.law.reference(last, conditions), conditions)
        u = self.channels.cut(last)
        y = y.to(u.dtype if u.dtype in (torch.float32, torch.float64) else torch.float32)
        v = u + self.curl(y[:, : self.components], domain)
        if periodic:
            change = y[:, self.components :].mean(tuple(range(2, y.ndim)), keepdim=True)
            v = v.index_add(1, torch.tensor(periodic, device=u.device), change.expand(-1, -1, *u.shape[2:]))
        return self.channels.put(last, v)

    @abstractmethod
    def curl(self, A: Float[Tensor, "B P *X"], domain: Domain) -> Float[Tensor, "B D *X"]:
        """The flow of a potential."""

    def means(self, domain: Domain) -> list[int]:
        """The components whose mean flow has an output. Raises ValueError for a domain that this head does not take."""
        if not isinstance(domain, Box) or domain.dim != self.dim:
            axes = f" of {domain.dim} axes" if isinstance(domain, Box) else ""
            raise ValueError(
                f"{self.name} takes a Box of {self.dim} axes, one for each component, not a {type(domain).__name__}{axes}; "
                "the constraint DivergenceFree may know a projection there"
            )
        what = f"a flow of {self.name} passes no end of a Box"
        check_closed(domain, what, "leave this head out, or forecast what flows by FluxForm, which knows open ends")
        return [a for a, kind in enumerate(domain.boundary) if kind == PERIODIC] if self.mean_flow else []
