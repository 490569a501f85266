from __future__ import annotations

import pytest

from converters.layers import PRESETS, Layer, matching, resolve
from edgekit.errors import UsageError
from edgekit.types import Rule

# A backbone, and a head of boxes and scores that ends in one tensor.
LAYERS = [
    Layer("stem.conv+stem.act", "conv", "CONV_2D", "0", (), True),
    Layer("layers.1.conv", "depthwise_conv", "DEPTHWISE_CONV_2D", "1", (0,), True),
    Layer("layers.10.conv", "conv", "CONV_2D", "2", (1,), True),
    Layer("head.boxes", "conv", "CONV_2D", "3", (2,), True),
    Layer("head.scores", "conv", "CONV_2D", "4", (2,), True),
    Layer("head", "sigmoid", "LOGISTIC", "5", (4,)),
    Layer("head", "mul", "MUL", "6", (3,)),
    Layer("head", "concat", "CONCATENATION", "7", (6, 5)),
    Layer("", "reshape", "RESHAPE", "8", (7,), is_output=True),
]


@pytest.mark.parametrize(
    ("pattern", "places"),
    [
        ("stem", [0]),
        ("stem.act", [0]),  # what was fused is found by either name
        ("layers.1", [1]),  # and not layers.10
        ("layers.*", [1, 2]),
        ("layers.?.conv", [1]),
        ("head", [3, 4, 5, 6, 7]),
        ("head.*", [3, 4]),
        ("conv", [0, 2, 3, 4]),
        ("*conv", [0, 1, 2, 3, 4]),
        ("depthwise_conv", [1]),
        ("CONV_2D", [0, 2, 3, 4]),
        ("logistic", [5]),
        ("none", []),
        ("@first", [0]),
        ("@last", [3, 4]),
        ("@last-activation", [5]),  # only data movement lies behind it
        ("@detection-head", [5, 6, 7, 8]),
    ],
)
def test_patterns(pattern: str, places: list[int]) -> None:
    assert matching(LAYERS, pattern) == places


def test_the_first_rule_that_matches_decides() -> None:
    rules = (Rule("head.scores", "int16x8"), Rule("head.*"), Rule("conv", "int8-weights"))
    chosen = resolve(LAYERS, rules, "TFLite")
    assert chosen == ["int8-weights", None, "int8-weights", "float32", "int16x8", None, None, None, None]


def test_a_rule_without_a_match_says_what_there_is() -> None:
    with pytest.raises(UsageError) as caught:
        resolve(LAYERS, (Rule("haed"),), "TFLite")
    assert "'haed' matches no layer of the TFLite form" in caught.value.message
    assert "head" in caught.value.hint


def test_an_unknown_preset() -> None:
    with pytest.raises(UsageError) as caught:
        resolve(LAYERS, (Rule("@middle"),), "ONNX")
    assert all(name in caught.value.hint for name in PRESETS)


def test_a_classifier_has_no_detection_head() -> None:
    layers = [
        Layer("fc", "linear", "FULLY_CONNECTED", "0", (), True),
        Layer("", "softmax", "SOFTMAX", "1", (0,), False, True),
    ]
    with pytest.raises(UsageError):
        resolve(layers, (Rule("@detection-head"),), "TFLite")
    assert matching(layers, "@last-activation") == [1]
