"""Operators whose result has a shape for constants alone, and counts of n-grams: as ONNX Runtime computes them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from imported_models import agree_with_runtime, called, one_node
from onnx import helper

from edgekit.errors import UnsupportedError

RANDOM = np.random.default_rng(3)


def random(*shape: int) -> Any:
    return RANDOM.standard_normal(shape, np.float32)


def integers(low: int, high: int, *shape: int) -> Any:
    return RANDOM.integers(low, high, shape, np.int64)


@pytest.mark.parametrize(
    ("kind", "operands", "reason"),
    [
        ("NonZero", {"x": random(3)}, "how many elements are not zero depends on data"),
        ("Unique", {"x": random(3)}, "how many different values there are depends on data"),
        ("NonMaxSuppression", {"boxes": random(1, 4, 4), "scores": random(1, 1, 4)}, "how many boxes are left depends"),
    ],
)
def test_what_data_decides_is_refused_by_name(kind: str, operands: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnsupportedError, match=rf"{kind} \({reason}"):
        agree_with_runtime(*one_node(kind, operands, 1, ()), 999.0)


BOXES = np.sort(RANDOM.random((2, 8, 2, 2), np.float32), 2).reshape(2, 8, 4)
LIMITS = {
    "most": np.array([4], np.int64),
    "overlap": np.array([0.2], np.float32),
    "least": np.array([0.1], np.float32),
}
ONES, KINDS, ROWS = (integers(0, *given) for given in ((2, 3, 4), (4, 3, 4), (2, 6, 2)))
SCORES = RANDOM.random((2, 2, 8), np.float32)
CONSTANT = {
    "nonzero": ("NonZero", {"x": ONES.astype(np.float32)}, {}, 1),
    "unique": ("Unique", {"x": KINDS}, {}, 4),
    "unique by appearance": ("Unique", {"x": KINDS}, {"sorted": 0}, 4),
    "unique rows": ("Unique", {"x": ROWS}, {"axis": 0, "sorted": 0}, 4),
    "boxes": ("NonMaxSuppression", {"boxes": BOXES, "scores": SCORES, **LIMITS}, {}, 1),
    "centred boxes": ("NonMaxSuppression", {"boxes": BOXES, "scores": SCORES, **LIMITS}, {"center_point_box": 1}, 1),
    "no box": ("NonMaxSuppression", {"boxes": BOXES, "scores": SCORES}, {}, 1),
}


@pytest.mark.parametrize("name", CONSTANT)
def test_of_constants_they_are_computed(name: str) -> None:
    kind, operands, attributes, outputs = CONSTANT[name]
    proto, _ = one_node(kind, operands, outputs, tuple(operands), "", **attributes)
    # A model has an input, or there is nothing to run.
    proto.graph.node.append(helper.make_node("Relu", ["data"], ["kept"]))
    proto.graph.input.append(helper.make_tensor_value_info("data", onnx.TensorProto.FLOAT, [2]))
    proto.graph.output.append(helper.make_tensor_value_info("kept", onnx.TensorProto.FLOAT, [2]))
    module = agree_with_runtime(proto, {"data": random(2)}, 999.0)
    assert "relu" in called(module)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("mode", ["TF", "IDF", "TFIDF"])
def test_n_grams_are_counted(mode: str, weighted: bool) -> None:
    """Two of one token, three of two, and a place of the result that none of them has."""
    vocabulary = {
        "pool_int64s": [2, 3, 5, 4, 2, 3, 3, 3],
        "ngram_counts": [0, 2],
        "ngram_indexes": [1, 0, 3, 5, 2],
        "min_gram_length": 1,
        "max_gram_length": 2,
        "max_skip_count": 2,
    }
    weights = {"weights": [0.5, 1.0, 2.0, 3.0, 0.25]} if weighted else {}
    proto, feeds = one_node("TfIdfVectorizer", {"x": integers(2, 6, 3, 9)}, 1, (), mode=mode, **vocabulary, **weights)
    agree_with_runtime(proto, feeds, 110.0)
