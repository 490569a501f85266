"""What "int8" means: the one vocabulary for three runtimes.

Which target can do which scheme is not written here: the steps in the targets' folders say it
(:func:`edgekit.registry.steps`), and ``edgekit list`` shows it.
"""

from __future__ import annotations

from edgekit.types import Scheme

# The SQNR limits tell a working file from a broken one; they are no promise of accuracy. A float conversion that is
# right lands above 100 dB, a float16 one above 50; trained networks in 8 bits lie between 20 and 45 dB, and one under
# 10 dB has more error than a tenth of its signal's power (FACTS: detection heads and softmax outputs that died).
# Four bits lose about 24 dB against eight, so a working int4 file can be as low as its limit.
_ALL = (
    Scheme("float32", "", 32, 32, "-", "float", False, 90.0, "as trained"),
    Scheme("float16", "--fp16", 16, 32, "-", "float", False, 45.0, "half-precision weights, half the size"),
    Scheme(
        "int8", "--int8", 8, 8, "per-channel", "static", True, 10.0,
        "8-bit weights and activations, ranges from calibration data",
    ),
    Scheme(
        "int8-dynamic", "--int8-dynamic", 8, 8, "per-channel", "dynamic", False, 15.0,
        "8-bit weights, activations quantized at run time, no data needed",
    ),
    Scheme(
        "int8-weights", "--int8-weights", 8, 32, "per-channel", "float", False, 20.0,
        "8-bit weights, float arithmetic: a quarter of the size, no data needed",
    ),
    Scheme(
        "int4-weights", "--int4-weights", 4, 32, "per-block", "float", False, 6.0,
        "4-bit weights of linear layers, a scale per block",
    ),
    Scheme(
        "int16x8", "--int16x8", 8, 16, "per-channel", "static", True, 20.0,
        "8-bit weights, 16-bit activations: accuracy over speed",
    ),
)  # fmt: skip

SCHEMES = {scheme.name: scheme for scheme in _ALL}
