"""TensorFlow Lite's and LiteRT's ``benchmark_model``: its options and what it prints.

From its sources (tensorflow/lite/tools/benchmark). It prints statistics of the timed runs in microseconds, in newer
versions with the median; single runs it does not print. Of inputs it wants a name for each and goes by their order, so
the names are ours. All outputs go into one file, one after the other.
"""

from __future__ import annotations

import re

from profiles.devices._native_dialect import Run, Timed

PROGRAM = "benchmark_model"
TARGET = "tflite"

_MOST_S = 600
_STATISTICS = re.compile(r"count=(\d+) (?:first=\S+ )?curr=\S+.*")
_FIELD = re.compile(r"(\w+)=([\d.]+(?:e[+-]?\d+)?)")
_SUMMARY = re.compile(r"Inference timings in us: Init: ([\d.e+]+), First inference: ([\d.e+]+)")


def command(run: Run) -> list[str]:
    """The program and its options."""
    words = [
        run.program,
        f"--graph={run.model}",
        f"--num_threads={run.threads}",
        f"--warmup_runs={run.discard}",
        "--warmup_min_secs=0",
        f"--num_runs={run.count}",
        "--min_secs=0",
        f"--max_secs={_MOST_S}",
    ]
    if run.inputs:
        names = [f"input{number}" for number in range(len(run.inputs))]
        shapes = [",".join(map(str, shape)) for _, shape in run.inputs]
        files = [f"{name}:{file}" for name, (file, _) in zip(names, run.inputs, strict=True)]
        words += [
            f"--input_layer={','.join(names)}",
            f"--input_layer_shape={':'.join(shapes)}",
            f"--input_layer_value_files={','.join(files)}",
        ]
    return [*words, f"--output_filepath={run.output}"] if run.output else words


def read(printed: str, discard: int, count: int) -> Timed:
    """The median of the timed runs, or their mean where it prints none, and the times of loading and of the first run.

    Raises:
        ValueError: There is no time in it.
    """
    found = [match[0] for match in _STATISTICS.finditer(printed)]
    if not found:
        raise ValueError("there is no line with count= and curr=")
    fields = dict(_FIELD.findall(found[-1]))  # the lines before are of runs that are discarded
    typical = next(fields[name] for name in ("median", "avg", "curr") if name in fields)
    summary = _SUMMARY.search(printed)
    load, first = (round(float(value) * 1000) for value in summary.groups()) if summary else (None, None)
    if not discard:  # its first inference is that of the warm-up, and 0 where there was none
        first = round(float(fields["first" if "first" in fields else "curr"]) * 1000)
    return Timed([round(float(typical) * 1000)], load, first)


def output_files(base: str, count: int) -> list[str]:
    """One file for all."""
    return [base]
