"""TensorFlow SavedModels: those of users, and the form that conversions go through."""

from converters.graph import SAVED_MODEL

FORM = SAVED_MODEL
