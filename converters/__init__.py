"""Model files in, model files out. Knows frameworks, and neither devices nor commands."""
