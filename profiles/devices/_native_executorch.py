"""ExecuTorch's ``executor_runner``: its options and what it prints.

From its sources (examples/portable/executor_runner). Newer versions print the time of each run, older ones that of all
together; all of them in milliseconds. Each output has a file of its own. Times are lines of its log, which has to be
compiled in (EXECUTORCH_ENABLE_LOGGING) and to go to stderr (EXECUTORCH_PAL_DEFAULT=posix; its preset for Android has
logcat).
"""

from __future__ import annotations

import re

from profiles.devices._native_dialect import Run, Timed

PROGRAM = "executor_runner"
TARGET = "executorch"

_EACH = re.compile(r"Iteration \d+ of \d+: ([\d.]+) ms")
_ALL = re.compile(r"Model executed successfully (\d+) time\(s\) in ([\d.]+) ms")
_LOADED = re.compile(r"Model loaded in ([\d.]+) ms")


def command(run: Run) -> list[str]:
    """The program and its options."""
    words = [
        run.program,
        f"--model_path={run.model}",
        f"--cpu_threads={run.threads}",
        f"--num_executions={run.discard + run.count}",
    ]
    if run.inputs:
        words.append(f"--inputs={','.join(file for file, _ in run.inputs)}")
    return [*words, f"--output_file={run.output}"] if run.output else words


def read(printed: str, discard: int, count: int) -> Timed:
    """Each timed run, or the mean of all where it prints no more.

    Raises:
        ValueError: There is no time in it.
    """
    each = [round(float(value) * 1e6) for value in _EACH.findall(printed)]
    loaded = _LOADED.search(printed)
    load = round(float(loaded[1]) * 1e6) if loaded else None
    if len(each) == discard + count:
        return Timed(each[discard:], load, each[0])
    together = _ALL.search(printed)
    if together is None:
        raise ValueError(
            "there is no line 'Model executed successfully'; programs built without logging print none, and those "
            "of ExecuTorch's Android preset write it to logcat"
        )
    return Timed([round(float(together[2]) * 1e6 / int(together[1]))], load, None)


def output_files(base: str, count: int) -> list[str]:
    """One for each."""
    return [f"{base}-{number}.bin" for number in range(count)]
