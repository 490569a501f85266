"""Reading huggingface models."""
