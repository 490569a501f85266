"""Reading JAX models: functions in Python files, and programs of ``jax.export``."""
