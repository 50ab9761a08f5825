"""Forecasts in the latent space of an autoencoder: an encoder and a decoder of fields on a box, and any surrogate between them.

1  train an `Autoencoder` as a surrogate's operator, by the strategy `Reconstruction`, with `Absolute` targets
2  `encode_dataset` every split: a data set like any other, on a grid `factor` times coarser
3  train any surrogate on that
4  `Latent(autoencoder, surrogate)` is the Step from physical fields to physical fields
"""

from surrogates.latent.autoencoder import Autoencoder
from surrogates.latent.dataset import encode_dataset, write_dataset
from surrogates.latent.reconstruction import Reconstruction
from surrogates.latent.step import Latent

__all__ = ["Autoencoder", "Latent", "Reconstruction", "encode_dataset", "write_dataset"]
