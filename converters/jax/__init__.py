"""Reading jax models."""
