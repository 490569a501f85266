"""Trains the three networks and writes their weights and ``digits.npz`` beside itself.

    python examples/jax/train.py

Needs jax, flax, equinox, optax and scikit-learn, which brings the pictures along: nothing is downloaded. Takes half a
minute.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import equinox_mlp
import flax_cnn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import plain
from flax import serialization
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

HERE = Path(__file__).parent
STEPS = 600
BATCH = 64


def fit(params: Any, loss: Callable[..., tuple[jax.Array, Any]], state: Any, images: Any, labels: Any) -> Any:
    """Weights and state after training; ``loss(params, state, images, labels)`` returns the loss and the new state."""
    optimizer = optax.adamw(optax.cosine_decay_schedule(5e-3, STEPS), weight_decay=0.02)

    @jax.jit
    def step(params: Any, state: Any, moments: Any, images: Any, labels: Any) -> Any:
        (_, state), gradients = jax.value_and_grad(loss, has_aux=True)(params, state, images, labels)
        updates, moments = optimizer.update(gradients, moments, params)
        return optax.apply_updates(params, updates), state, moments

    moments = optimizer.init(params)
    generator = np.random.default_rng(0)
    for _ in range(STEPS):
        chosen = generator.choice(len(images), BATCH, replace=False)
        params, state, moments = step(params, state, moments, images[chosen], labels[chosen])
    return params, state


def cross_entropy(scores: jax.Array, labels: jax.Array) -> jax.Array:
    """With smoothed labels, which keeps the scores in a narrow range."""
    return optax.softmax_cross_entropy(scores, optax.smooth_labels(jax.nn.one_hot(labels, 10), 0.1)).mean()


def train_plain(images: Any, labels: Any) -> None:
    """Writes ``plain.npz``."""

    def loss(params: Any, state: Any, images: Any, labels: Any) -> Any:
        return cross_entropy(plain.apply(params, images), labels), state

    params, _ = fit(plain.init(jax.random.key(0)), loss, None, images, labels)
    np.savez(plain.WEIGHTS, **params)


def train_flax(images: Any, labels: Any) -> None:
    """Writes ``flax_cnn.msgpack``."""
    model = flax_cnn.CNN()
    variables = model.init(jax.random.key(0), images[:1])

    def loss(params: Any, state: Any, images: Any, labels: Any) -> Any:
        scores, updated = model.apply(
            {"params": params, "batch_stats": state}, images, train=True, mutable=["batch_stats"]
        )
        return cross_entropy(scores, labels), updated["batch_stats"]

    params, state = fit(variables["params"], loss, variables["batch_stats"], images, labels)
    flax_cnn.WEIGHTS.write_bytes(serialization.msgpack_serialize({"params": params, "batch_stats": state}))


def train_equinox(images: Any, labels: Any) -> None:
    """Writes ``equinox_mlp.eqx``."""
    params, static = eqx.partition(equinox_mlp.Digits(jax.random.key(0)), eqx.is_array)

    def loss(params: Any, state: Any, images: Any, labels: Any) -> Any:
        return cross_entropy(jax.vmap(eqx.combine(params, static))(images), labels), state

    params, _ = fit(params, loss, None, images, labels)
    eqx.tree_serialise_leaves(equinox_mlp.WEIGHTS, eqx.combine(params, static))


def main() -> None:
    """Train, and print each network's accuracy on held-out pictures."""
    digits = load_digits()
    images = (digits.images[..., None] / 16).astype(np.float32)
    train_x, test_x, train_y, test_y = train_test_split(
        images, digits.target, test_size=360, random_state=0, stratify=digits.target
    )
    np.savez_compressed(HERE / "digits.npz", image=test_x, labels=test_y)
    train_plain(train_x, train_y)
    train_flax(train_x, train_y)
    train_equinox(train_x, train_y)
    for name, net in (("plain", plain.net), ("flax", flax_cnn.net), ("equinox", equinox_mlp.load())):
        print(f"{name}: {float(jnp.mean(net(test_x).argmax(1) == test_y)):.3f}")


if __name__ == "__main__":
    main()
