"""Chooses TensorFlow for Keras; the jobs import this before TensorFlow.

Importing TensorFlow imports Keras, whose backend is fixed from then on.
"""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
