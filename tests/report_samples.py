"""Reports of any size, for tests and benchmarks of what is made of reports: made up, and the same every time."""

from __future__ import annotations

import base64
import random
import struct
import zlib
from dataclasses import replace

from edgekit.conditions import Conditions
from edgekit.device_types import DeviceFacts, Place
from edgekit.drift_types import (
    ClassFigures,
    Drift,
    Figure,
    FileDrift,
    Flips,
    LayerDrift,
    LayersResult,
    TaskFigure,
    TaskResult,
    Thumbnail,
    Verdict,
)
from edgekit.types import (
    Comparison,
    Measurement,
    Moment,
    NodeWork,
    OperatorTime,
    Profile,
    Report,
    Sustained,
    Turn,
)

TARGETS = ("tflite", "onnx", "executorch")
SCHEMES = ("float32", "int8", "dynamic-int8", "int8-weights", "float16")
CLASSES = 10
SAMPLES = 360


def report_of(
    variants: int, *, runs: int = 500, layers: int = 12, name: str = "model", label: str = "", device: str = "host",
    classes: int = CLASSES, sustained: bool = True, reference: bool = True, figures: int = 0,
) -> Report:  # fmt: skip
    """A report of so many files.

    Args:
        variants: How many files.
        runs: Timed runs of each.
        layers: Compared in each, and operators in each.
        name: What names of files begin with; also of tensors and operators.
        label: What names of classes begin with.
        device: Its name.
        classes: Of the task.
        sustained: Whether files also ran without pause.
        reference: Whether outputs were compared.
        figures: Measured of each file, beside the usual ones.
    """
    dice = random.Random(7)  # noqa: S311 - only the same every time
    paths = [f"{name}.{SCHEMES[place % 5]}-{place}.{TARGETS[place % 3]}" for place in range(variants)]
    profiles = [_profile(path, place, dice, runs, layers, device, name) for place, path in enumerate(paths)]
    more = tuple(Measurement(f"more_{index}_bytes", 1000.0 + index, "bytes", False, 900, 1100, "95% interval", runs)
                 for index in range(figures))  # fmt: skip
    profiles = [
        replace(one, measurements=(*one.measurements, *more), sustained=one.sustained if sustained else None)
        for one in profiles
    ]
    drifts = [_drift(path, place, dice, layers, name, label, classes, device) for place, path in enumerate(paths)]
    return Report(
        command="edgekit compare",
        source=f"{name}.pt",
        profiles=tuple(profiles),
        comparisons=tuple(_comparison(one, paths[0], place, device) for place, one in enumerate(paths) if place),
        drifts=tuple(drifts) if reference else (),
        devices=(_place(device),),
        thumbnails=tuple(Thumbnail(sample, _png(sample), f"{label}{sample % 10}", 8, 8) for sample in (3, 5, 8)),
        notes=("Latency: feeding the inputs, inference and fetching the outputs.",),
    )


def _profile(path: str, place: int, dice: random.Random, runs: int, layers: int, device: str, name: str) -> Profile:
    middle = 20_000 * (1 + place % 7)
    turns = tuple(
        Turn(number, tuple(int(middle * dice.lognormvariate(0, 0.1)) for _ in range(25)), (False,) * 25, 1e6)
        for number in range(max(1, runs // 25))
    )
    size = 90_000 // (1 + place % 4)
    top1 = 0.99 - 0.002 * (place % 5)
    return Profile(
        path=path, target=TARGETS[place % 3], sha256=f"{place:064x}", inputs_sha256="0" * 64, runtime="LiteRT 2.3.0",
        threads=1, turns=turns, device=device, scheme=SCHEMES[place % 5],
        measurements=(
            Measurement("latency_p50_ns", middle, "ns", False, middle * 0.97, middle * 1.03, "95% CI", runs),
            Measurement("latency_p90_ns", middle * 1.2, "ns", False, None, middle * 1.3, "95% upper bound", runs),
            Measurement("size_bytes", size, "bytes", False, samples=1),
            Measurement("peak_memory_bytes", 200_000 + 1000 * place, "bytes", False, samples=1),
            Measurement("delegated_macs_ratio", 1.0, "ratio", True, samples=1),
            Measurement("cold_load_ns", None, "ns", False, unavailable="not asked for (--cold)"),
            Measurement("task_top1", top1, "ratio", True, top1 - 0.01, min(1.0, top1 + 0.01), "95% interval", SAMPLES),
        ),
        operators=tuple(
            OperatorTime(f"{name} op {index % 5}", f"{name}/{index}", "XNNPACK", middle / layers, 1 / layers, 1)
            for index in range(layers)
        ),
        work=tuple(
            NodeWork(f"{name} op {index % 5}", f"0:{index}", 1000, size // (2 * layers), 100) for index in range(layers)
        ),
        sustained=Sustained(60, 5, tuple(Moment(5.0 * at, middle * (1 + at / 50), 99, 40.0 + at) for at in range(12))),
    )  # fmt: skip


def _comparison(path: str, base: str, place: int, device: str) -> Comparison:
    ratio = float(1 + place % 7)
    verdict = "slower" if ratio > 1 else "no difference shown"
    return Comparison(path, 1, base, 1, verdict, ratio, ratio * 0.98, ratio * 1.02, 0.01, 26, "", device, device)


def _drift(
    path: str, place: int, dice: random.Random, layers: int, name: str, label: str, classes: int, device: str
) -> FileDrift:
    level = 40.0 - place % 9
    outputs = (
        Drift(f"{name} out", 0.1, level, 0.999, 0.99, SAMPLES, kind="scores",
              figures=(Figure("sqnr", level, "dB", True, level, level - 3, level - 6, 3),)),
    )  # fmt: skip
    return FileDrift(
        path, TARGETS[place % 3], SCHEMES[place % 5], f"{place:064x}", outputs, Verdict("acceptable", ("Close.",)),
        task=_task(place, label, classes), layers=_layers(dice, layers, name), device=device,
    )  # fmt: skip


def _task(place: int, label: str, classes: int) -> TaskResult:
    counts = [[36 if row == column else 0 for column in range(classes)] for row in range(classes)]
    counts[3][5], counts[8][2] = 2, 1 + place % 3
    top1 = 0.99 - 0.002 * (place % 5)
    figure = TaskFigure("top1", "ratio", True, top1, top1 - 0.01, min(1.0, top1 + 0.01), 0.99, top1 - 0.99, -0.02, 0.01,
                        "McNemar exact", SAMPLES, False, 2000, "top-1: not shown to differ")  # fmt: skip
    named = tuple(ClassFigures(row, f"{label}{row}" if label else "", 36, 0.97, 0.98) for row in range(classes))
    flips = Flips(2, 1, 0, (3, 5), (8,), tuple(map(tuple, counts)))
    return TaskResult("classification", "read as logits", (figure,), named, flips)


def _layers(dice: random.Random, layers: int, name: str) -> LayersResult:
    found = tuple(
        LayerDrift(index, "CONV_2D", f"{name}.layer{index}", f"t{index}", f"t{index}", "name", (1, 8, 8, 4),
                   60.0 - 30 * index / layers + dice.random(), dice.random(), -1.0, 1.0, -1.0, 1.0)
        for index in range(layers)
    )  # fmt: skip
    return LayersResult(
        f"{name}.float32.tflite", 16, found, layers // 2, (layers // 2, 0), None, "It begins in the middle."
    )


def _place(device: str) -> Place:
    facts = DeviceFacts(device, "Linux 6.1", "x86_64", "A CPU", 2, 8_000_000_000, "3.11.7", 0.5)
    return Place(
        device, facts, conditions=(Conditions(1.8e9, load_average=0.5), Conditions(1.8e9 + 60, load_average=0.7))
    )


def _png(seed: int) -> str:
    """A grey picture of 8 by 8, without Pillow."""
    rows = b"".join(b"\0" + bytes((seed * 31 + 7 * row + 23 * column) % 256 for column in range(8)) for row in range(8))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return base64.b64encode(png).decode()
