"""Reading keras models."""
