"""A convolutional network in plain JAX: a function over a dictionary of weights.

edgekit convert examples/jax/plain.py:net --to tflite --input image=1,8,8,1
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

WEIGHTS = Path(__file__).with_name("plain.npz")


def init(key: jax.Array) -> dict[str, jax.Array]:
    """Weights to begin with."""
    shapes = {"conv1": (3, 3, 1, 16), "conv2": (3, 3, 16, 32), "dense": (2 * 2 * 32, 10)}
    keys = dict(zip(shapes, jax.random.split(key, len(shapes)), strict=True))
    weights = {name: jax.nn.initializers.he_normal()(keys[name], shape) for name, shape in shapes.items()}
    return weights | {f"{name}_bias": jnp.zeros(shape[-1]) for name, shape in shapes.items()}


def conv(params: dict[str, jax.Array], name: str, x: jax.Array) -> jax.Array:
    """A convolution with ReLU, and a 2x2 pool; the scope names it for ``--exclude``."""
    with jax.named_scope(name):
        x = jax.lax.conv_general_dilated(x, params[name], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        x = jax.nn.relu(x + params[f"{name}_bias"])
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def apply(params: dict[str, jax.Array], image: jax.Array) -> jax.Array:
    """Class scores of pictures, float32 ``[batch, 8, 8, 1]`` from 0 to 1."""
    x = conv(params, "conv2", conv(params, "conv1", image))
    with jax.named_scope("dense"):
        return x.reshape(x.shape[0], -1) @ params["dense"] + params["dense_bias"]


def net(image: jax.Array) -> jax.Array:
    """The model for edgekit: a function of the input alone."""
    return apply(dict(np.load(WEIGHTS)), image)
