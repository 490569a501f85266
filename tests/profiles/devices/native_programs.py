"""Programs that stand in for a runtime's own: called like them, printing like them, and really running the file.

They are none of the real ones: those are not to be had here. Called as ``native_programs.py NAME OPTIONS...``.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np


def main() -> None:
    name, *words = sys.argv[1:]
    options = dict(word.removeprefix("--").split("=", 1) for word in words)
    {"benchmark_model": benchmark_model, "executor_runner": executor_runner}[name](options)


def benchmark_model(options: dict[str, str]) -> None:
    from ai_edge_litert.interpreter import Interpreter

    begun = time.perf_counter()
    interpreter = Interpreter(model_path=options["graph"], num_threads=int(options["num_threads"]))
    interpreter.allocate_tensors()
    took = (time.perf_counter() - begun) * 1e6
    details = interpreter.get_input_details()
    if "input_layer" in options:
        files = [item.partition(":")[2] for item in options["input_layer_value_files"].split(",")]
        for detail, file in zip(details, files, strict=True):
            interpreter.set_tensor(detail["index"], np.fromfile(file, detail["dtype"]).reshape(detail["shape"]))
    times = []
    for _ in range(int(options["warmup_runs"]) + int(options["num_runs"])):
        begun = time.perf_counter()
        interpreter.invoke()
        times.append((time.perf_counter() - begun) * 1e6)
    warm, timed = times[: int(options["warmup_runs"])], times[int(options["warmup_runs"]) :]
    print("INFO: STARTING!\nINFO: Loaded model", options["graph"], flush=True)
    if warm:
        print(f"INFO: count={len(warm)} first={warm[0]:.0f} curr={warm[-1]:.0f} min=1 max=2 avg={np.mean(warm):.4g}\n")
    else:
        print("INFO: count=0\n")
    print(
        f"INFO: count={len(timed)} first={timed[0]:.0f} curr={timed[-1]:.0f} min={min(timed):.0f} max={max(timed):.0f} "
        f"avg={np.mean(timed):.6g} std={np.std(timed):.0f} p5=1 median={np.median(timed):.0f} p95=2\n"
    )
    print(
        f"INFO: Inference timings in us: Init: {took:.0f}, First inference: {warm[0] if warm else 0:.0f}, "
        f"Warmup (avg): {np.mean(warm) if warm else np.nan:.6g}, Inference (avg): {np.mean(timed):.6g}"
    )
    if "output_filepath" in options:
        outputs = (interpreter.get_tensor(one["index"]).tobytes() for one in interpreter.get_output_details())
        Path(options["output_filepath"]).write_bytes(b"".join(outputs))


def executor_runner(options: dict[str, str]) -> None:
    from profiles.runtimes import executorch

    model = executorch.load(options["model_path"], int(options["cpu_threads"]))
    inputs = {}
    if "inputs" in options:
        for item, file in zip(model.inputs, options["inputs"].split(","), strict=True):
            inputs[item["name"]] = np.fromfile(file, item["dtype"]).reshape([size or 1 for size in item["shape"]])
    else:
        inputs = {one["name"]: np.ones([size or 1 for size in one["shape"]], one["dtype"]) for one in model.inputs}
    count = int(options["num_executions"])
    print("I 00:00:00.001234 executorch:executor_runner.cpp:400] Model loaded in 1.250000 ms.")
    whole = 0.0
    for number in range(count):
        begun = time.perf_counter()
        outputs = model.run(inputs)
        took = (time.perf_counter() - begun) * 1e3
        whole += took
        print(f"I 00:00:00.002 executorch:executor_runner.cpp:512] Iteration {number + 1} of {count}: {took:f} ms")
    print(f"I 00:00:00.003 executor_runner.cpp:520] Model executed successfully {count} time(s) in {whole:f} ms.")
    if "output_file" in options:
        for number, value in enumerate(outputs.values()):
            np.asarray(value).tofile(f"{options['output_file']}-{number}.bin")


if __name__ == "__main__":
    main()
