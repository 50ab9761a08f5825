"""The symmetries that an equation really has: g with step(g u) = g step(u), from which new training windows are made.

    groups      what a symmetry is, and four of them        mirror      what they do to points and components
    declared    which of them each equation has             chosen      those to train with, on a given grid, or why not
    augment     batches under them

Source of the practice: Brandstetter, Welling and Worrall, Lie point symmetry data augmentation for neural PDE solvers, 2022,
https://arxiv.org/abs/2202.07643.
"""

from surrogates.data.symmetries.augment import Augment
from surrogates.data.symmetries.chosen import chosen
from surrogates.data.symmetries.declared import declared
from surrogates.data.symmetries.groups import Galilean, Reflect, Symmetry, Translate, Turn
from surrogates.data.symmetries.mirror import quarter, signs

__all__ = ["Augment", "Galilean", "Reflect", "Symmetry", "Translate", "Turn", "chosen", "declared", "quarter", "signs"]
