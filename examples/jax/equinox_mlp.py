"""A multilayer perceptron in Equinox, whose modules take one sample: ``jax.vmap`` adds the batch.

edgekit convert examples/jax/equinox_mlp.py:load --to tflite --input image=1,8,8,1
"""

from collections.abc import Callable
from pathlib import Path

import equinox as eqx
import jax

WEIGHTS = Path(__file__).with_name("equinox_mlp.eqx")


class Digits(eqx.Module):
    """Input: one picture, float32 ``[8, 8, 1]`` from 0 to 1. Output: ten class scores."""

    mlp: eqx.nn.MLP

    def __init__(self, key: jax.Array) -> None:
        self.mlp = eqx.nn.MLP(in_size=64, out_size=10, width_size=48, depth=2, key=key)

    def __call__(self, image: jax.Array) -> jax.Array:
        """Class scores of one picture."""
        return self.mlp(image.reshape(-1))


def load() -> Callable[[jax.Array], jax.Array]:
    """The model for edgekit: a function without parameters may return it."""
    return jax.vmap(eqx.tree_deserialise_leaves(WEIGHTS, Digits(jax.random.key(0))))
