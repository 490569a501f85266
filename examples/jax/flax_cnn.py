"""A convolutional network in Flax, with BatchNorm.

edgekit convert examples/jax/flax_cnn.py:net --to tflite --input image=1,8,8,1
"""

from pathlib import Path

import jax
from flax import linen as nn
from flax import serialization

WEIGHTS = Path(__file__).with_name("flax_cnn.msgpack")


class Block(nn.Module):
    """Convolution, BatchNorm, GELU and a 2x2 pool."""

    channels: int

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """The same picture at half the size."""
        x = nn.Conv(self.channels, (3, 3), use_bias=False)(x)
        x = nn.gelu(nn.BatchNorm(use_running_average=not train, momentum=0.9)(x))
        return nn.max_pool(x, (2, 2), (2, 2))


class CNN(nn.Module):
    """Input: float32 ``[batch, 8, 8, 1]`` from 0 to 1. Output: ten class scores."""

    @nn.compact
    def __call__(self, image: jax.Array, train: bool = False) -> jax.Array:
        """Class scores."""
        x = Block(32)(Block(16)(image, train), train)
        return nn.Dense(10)(x.reshape(x.shape[0], -1))


def net(image: jax.Array) -> jax.Array:
    """The model for edgekit: a function of the input alone."""
    variables = serialization.msgpack_restore(WEIGHTS.read_bytes())
    return CNN().apply(variables, image)
