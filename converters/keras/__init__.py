"""Keras models: ``.keras`` archives, HDF5 files of Keras 2 and 3, and weights alone."""
