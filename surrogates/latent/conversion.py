"""Between physical frames and latents: encode = E . normalise, decode = denormalise . D, frame by frame."""

from __future__ import annotations

from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from surrogates.contracts import Conditions, Domain
from surrogates.fields import Field, Fields
from surrogates.latent.autoencoder import Autoencoder
from surrogates.surrogate import Surrogate


def autoencoder_of(surrogate: Surrogate) -> Autoencoder:
    """The operator of a surrogate that was trained as an autoencoder. Raises ValueError for another operator."""
    network = surrogate.operator
    if not isinstance(network, Autoencoder):
        raise ValueError(
            f"expected a surrogate whose operator is an Autoencoder, got {type(network).__name__}; train one with "
            "`operator: {class: surrogates.latent.Autoencoder}` and `strategy: {class: surrogates.latent.Reconstruction}`"
        )
    return network


def latent_fields(surrogate: Surrogate) -> Fields:
    """One scalar without units a latent channel: latent_0, latent_1, ..."""
    return Fields(tuple(Field(f"latent_{i}") for i in range(autoencoder_of(surrogate).latent)))


def latent_conditions(surrogate: Surrogate, conditions: Conditions) -> Conditions:
    """The same time and parameters on the grid of the latents; static fields are not encoded."""
    return replace(conditions, domain=autoencoder_of(surrogate).latent_box(conditions.domain), static=None)


def encode(surrogate: Surrogate, u: Float[Tensor, "B T C *X"], domain: Domain) -> Float[Tensor, "B T L *Z"]:
    """Physical frames to latents."""
    z = autoencoder_of(surrogate).encode(surrogate.normaliser.encode(u).flatten(0, 1), domain)
    return z.reshape(*u.shape[:2], *z.shape[1:])


def decode(surrogate: Surrogate, z: Float[Tensor, "B T L *Z"], domain: Domain) -> Float[Tensor, "B T C *X"]:
    """Latents to physical frames on `domain`."""
    u = autoencoder_of(surrogate).decode(z.flatten(0, 1), domain)
    return surrogate.normaliser.decode(u.reshape(*z.shape[:2], *u.shape[1:]))
