"""Everything a user can get wrong, through the command line: exit code, message, and no file left behind.

Most commands run in this process with fork servers that stay warm between tests; each still reads, converts and checks
in children of its own. Where the process itself matters, it is one.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from edgekit import cli, convert
from edgekit.jobs import Workers

torch = pytest.importorskip("torch", reason="needs the extra torch")
for _package in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(_package, reason="needs the extra onnx")

PATIENCE_S = 60.0
CODE = """\
    import os
    import signal
    import time
    from pathlib import Path

    import torch
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)
            self.drop = nn.Dropout(0.5)
            self.norm = nn.BatchNorm2d(4)

        def forward(self, image):
            return self.drop(self.norm(self.conv(image))).mean((2, 3))


    class Wide(Net):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 3)


    class Constant(nn.Module):
        def forward(self, image):
            return image.mean((2, 3)) * 0 + 1


    class Slow(Net):
        def forward(self, image):
            y = super().forward(image)
            x = image.flatten(2)[:, :1].mT * image.flatten(2)[:, 1:2]
            for _ in range(4):
                x = torch.tanh(x @ x)
            return y + x.mean((1, 2), keepdim=True).flatten(1)


    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = Inner()

        def forward(self, image):
            return torch.linalg.eigvalsh(self.first(image))


    class Inner(nn.Module):
        def forward(self, x):
            return torch.special.bessel_j0(x) + torch.linalg.inv(x)


    def broken():
        width = 1
        return width / 0  # the culprit


    def wrong_type():
        return {"a": 1}


    not_callable = 3


    def killed():
        print("last words", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)


    def sleepy():
        Path("asleep").touch()
        time.sleep(300)
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models that tests share; none writes here."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "code_of_user.py").write_text(textwrap.dedent(CODE))
    sys.path.insert(0, str(folder))
    import code_of_user as code

    torch.manual_seed(5)
    image = torch.randn(1, 3, 8, 8)
    network = code.Net()
    network.norm.running_mean.uniform_()

    def export(module: torch.nn.Module, name: str) -> None:
        torch.export.save(torch.export.export(module, (image,)), folder / name)

    export(network.train(), "training.pt2")
    export(network.eval(), "net.pt2")
    export(code.Constant(), "constant.pt2")
    export(code.Outer(), "unsupported.pt2")
    torch.save(network.state_dict(), folder / "weights.pt")
    torch.save(network, folder / "module.pt")
    (folder / "plain.pickle").write_bytes(pickle.dumps(network))
    sys.path.remove(str(folder))
    return folder


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    with Workers(tmp_path_factory.mktemp("warm"), parallel=2) as workers:
        yield workers


@dataclass
class Done:
    code: int
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture(autouse=True)
def here(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with links to the models."""
    folder = tmp_path / "work"
    folder.mkdir()
    for file in files.iterdir():
        if file.is_file():
            (folder / file.name).symlink_to(file)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("EDGEKIT_STATE", str(tmp_path / "state"))
    return folder


@pytest.fixture
def run(warm: Workers, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """``edgekit convert`` to ``out``, with warm fork servers."""

    def lend(scratch: Path, **options: object) -> contextlib.AbstractContextManager[Workers]:
        warm.scratch, warm.progress = scratch, options["progress"]
        return contextlib.nullcontext(warm)

    def call(*arguments: str, to: str = "onnx", output: str = "out") -> Done:
        monkeypatch.setattr(convert, "Workers", lend)
        before = signal.getsignal(signal.SIGTERM)
        try:
            with pytest.raises(SystemExit) as caught:
                cli.main(["convert", *arguments, "--to", to, "--output", output])
        finally:
            signal.signal(signal.SIGTERM, before)
        shown = capsys.readouterr()
        assert "Traceback" not in shown.out + shown.err
        return Done(int(caught.value.code or 0), shown.out, shown.err)

    return call


def line_of(code: str) -> int:
    """Where something stands in the user's file."""
    (number,) = (number for number, line in enumerate(CODE.splitlines(), 1) if code in line)
    return number


def left(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.rglob("*") if file.is_file()) if folder.exists() else []


def check(done: Done, code: int, *said: str) -> None:
    """The exit code and parts of the message; nothing was written."""
    for part in said:
        assert part in done.err, done.err
    assert done.code == code, done.err
    assert left(Path("out")) == []


# The model file


def test_missing_file(run: Run) -> None:
    check(run("weihgts.pt"), 2, "weihgts.pt: no such file.", "Did you mean weights.pt?")


def test_missing_folder(run: Run) -> None:
    check(run("nowhere/net.pt2"), 2, "nowhere/net.pt2: no such file.", "There is no folder nowhere either.")


def test_directory(run: Run, here: Path) -> None:
    (here / "models").mkdir()
    (here / "models" / "best.pt").touch()
    check(run("models"), 2, "models: this is a folder", "Name a file in it: best.pt")


def test_empty_file(run: Run, here: Path) -> None:
    (here / "empty.pt").touch()
    check(run("empty.pt"), 2, "empty.pt: the file is empty.", "0 bytes arrived")


def test_unreadable_file(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.R_OK)  # root may read anything
    check(run("net.pt2"), 2, "net.pt2: you may not read this file.", "chmod u+r net.pt2")


@pytest.mark.parametrize("name", ["net.pt2", "weights.pt"])
@pytest.mark.parametrize("keep", [0.4, 0.95])
def test_truncated_zip(run: Run, here: Path, name: str, keep: float) -> None:
    content = (here / name).read_bytes()
    (here / "cut.pt").write_bytes(content[: int(len(content) * keep)])
    check(run("cut.pt"), 5, "cut.pt: a zip archive that is cut short or damaged", "copy or download it again")


def test_random_bytes(run: Run, here: Path) -> None:
    (here / "noise.pt").write_bytes(np.random.default_rng(1).bytes(5000))
    check(run("noise.pt"), 4, "noise.pt: not a model file that edgekit knows", "Known: PyTorch")


def test_random_bytes_that_begin_like_a_pickle(run: Run, here: Path) -> None:
    (here / "noise.pt").write_bytes(b"\x80\x02" + np.random.default_rng(2).bytes(5000))
    check(run("noise.pt"), 9, "noise.pt: ", "nothing was run")
    check(run("noise.pt", "--trust"), 5, "noise.pt: unpickling it raised")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 4\n", "a Git LFS pointer"),
        ("<!DOCTYPE html>\n<html><body>Not found</body></html>", "a web page, not a model file"),
        ("import torch\n", "not a model file that edgekit knows (it starts with b'import t'"),
    ],
)
def test_text_files(run: Run, here: Path, text: str, said: str) -> None:
    (here / "model.pt").write_text(text)
    check(run("model.pt"), 4, f"model.pt: {said}")


def test_a_converted_file(run: Run, here: Path) -> None:
    (here / "model.tflite").write_bytes(b"\x1c\0\0\0TFL3" + bytes(100))
    check(run("model.tflite"), 4, "as a source is not supported yet", "edgekit profile model.tflite")


# Files that would run code


class Payload:
    """Leaves a folder when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("kind", ["torch.save", "old torch.save", "pickle"])
def test_pickle_without_trust_runs_nothing(run: Run, here: Path, kind: str) -> None:
    mark, file = here / "executed", here / "evil.pt"
    if kind == "pickle":
        file.write_bytes(pickle.dumps(Payload(mark)))
    else:
        torch.save({"w": Payload(mark)}, file, _use_new_zipfile_serialization=kind == "torch.save")
    check(run("evil.pt"), 9, "evil.pt: a pickle that needs code of its own", "nothing was run", "--trust")
    assert not mark.exists()
    assert run("evil.pt", "--trust").code != 9
    assert mark.exists()  # the payload works where it is let


def test_pickled_module_without_trust(run: Run) -> None:
    check(run("module.pt"), 9, "module.pt: a pickle that needs code of its own (", "code_of_user.Net", "--trust")
    check(run("plain.pickle"), 9, "plain.pickle: a pickle that needs code of its own", "--trust")


@pytest.mark.parametrize("part", ["sample_inputs", "weights"])
def test_pickle_inside_a_program_runs_nothing(run: Run, here: Path, part: str) -> None:
    mark, file = here / "executed", here / "evil.pt2"
    torch.save({"w": Payload(mark)}, here / "payload")
    with zipfile.ZipFile(here / "net.pt2") as source, zipfile.ZipFile(file, "w") as target:
        for name in source.namelist():
            target.writestr(name, source.read(name)) if "sample_inputs" not in name else None
        root = source.namelist()[0].partition("/")[0]
        sample = (here / "payload").read_bytes() if part == "sample_inputs" else b""
        target.writestr(f"{root}/data/sample_inputs/model.pt", sample)
        if part == "weights":
            target.writestr(f"{root}/data/weights/model.pt", (here / "payload").read_bytes())
    check(run("evil.pt2"), 9, "evil.pt2: a pickle that needs code of its own", "nothing was run")
    assert not mark.exists()
    with contextlib.suppress(Exception):
        torch.export.load(file)
    assert mark.exists()


def test_program_whose_shape_expression_runs_code(run: Run, here: Path) -> None:
    mark, file = here / "executed", here / "evil.pt2"
    evil = f"__import__('os').mkdir({str(mark)!r})"
    with zipfile.ZipFile(here / "net.pt2") as source, zipfile.ZipFile(file, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name.endswith("models/model.json"):
                program = json.loads(content)
                sizes = program["graph_module"]["graph"]["tensor_values"]["image"]["sizes"]
                sizes[0] = {"as_expr": {"expr_str": evil, "hint": {"as_int": 1}}}
                content = json.dumps(program).encode()
            target.writestr(name, content)
    check(run("evil.pt2"), 9, "evil.pt2: ", "more than arithmetic; loading it would run code", "--trust")
    assert not mark.exists()
    with contextlib.suppress(Exception):
        torch.export.load(file)
    assert mark.exists()


# --model


def test_state_dict_without_model(run: Run) -> None:
    said = ("weights.pt: weights alone (7 tensors, ", "conv.weight", "edgekit convert weights.pt --model FILE.py:NAME")
    check(run("weights.pt"), 2, *said)


CULPRIT = f"code_of_user.py, line {line_of('the culprit')}, in broken"


@pytest.mark.parametrize(
    ("code", "exit_code", "said"),
    [
        ("code_of_user.py:broken", 5, f"broken raised ZeroDivisionError: division by zero ({CULPRIT})"),
        ("code_of_user.py:wrong_type", 2, "returned a dict, not a torch.nn.Module"),
        ("code_of_user.py:not_callable", 2, "not_callable is a int, not a class or function"),
        ("code_of_user.py", 2, "the name of a class or function is missing.\n  next: --model code_of_user.py:Net"),
        ("code_of_usr.py:Net", 2, "there is no file code_of_usr.py.\n  next: Did you mean code_of_user.py?"),
        ("no_such.module:Net", 5, "importing it raised ModuleNotFoundError: No module named 'no_such'"),
        ("code_of_user.py:Ned", 2, "code_of_user has no 'Ned'."),
        ("code_of_user.py:Wide", 5, "conv.weight is [4, 3, 3, 3] in the file and [8, 3, 3, 3] in the network"),
        ("code_of_user.py:Constant", 5, "do not belong to code_of_user.py:Constant: unknown to the network: conv"),
    ],
)  # fmt: skip
def test_wrong_model_code(run: Run, code: str, exit_code: int, said: str) -> None:
    check(run("weights.pt", "--model", code, "--input", "1,3,8,8"), exit_code, said)


def test_a_factory_that_is_killed(run: Run, tmp_path: Path) -> None:
    done = run("weights.pt", "--model", "code_of_user.py:killed", "--input", "1,3,8,8")
    check(done, 5, "the child process was killed by SIGKILL", "  log:  ")
    log = Path(done.err.rpartition("  log:  ")[2].strip())
    assert log.is_relative_to(tmp_path / "state")
    assert "last words" in log.read_text()


def test_a_factory_that_does_not_end(run: Run, here: Path) -> None:
    done = run("weights.pt", "--model", "code_of_user.py:sleepy", "--input", "1,3,8,8", "--timeout", "1")
    check(done, 5, "weights.pt: read and export: stopped after its time limit of 1 s", "--timeout SECONDS")


# Inputs and data


def test_no_example_inputs_shows_an_option_for_this_very_model(run: Run) -> None:
    said = ("nothing says how large the inputs (image) are", "--input image=1,3,224,224", "--data FILE")
    check(run("weights.pt", "--model", "code_of_user.py:Net"), 2, *said)


@pytest.mark.parametrize(
    ("option", "exit_code", "said"),
    [
        ("image=1,3,x", 2, "--input image=1,3,x: not a shape"),
        ("image=1,3,,8", 2, "--input image=1,3,,8: not a shape"),
        ("image=1,3,0,8", 2, "sizes start at 1"),
        ("image=1,3,8,8:float99", 2, "not a shape (data type 'float99' not understood)"),
        ("picture=1,3,8,8", 2, "the model's inputs are image; unknown: 'picture' and missing: image"),
        ("image=1,4,8,8", 5, "the model fails on inputs float32[1, 4, 8, 8]: RuntimeError: "),
    ],
)
def test_wrong_input_option(run: Run, option: str, exit_code: int, said: str) -> None:
    check(run("weights.pt", "--model", "code_of_user.py:Net", "--input", option), exit_code, said)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"a": np.zeros((9, 3), "f4"), "b": np.zeros(9)}, "no array for each input. Expected image: float32[1,3,8,8];"),
        ({"x": np.zeros((9, 3, 9, 9), "f4")}, "expected shape [N,3,8,8] for input 'image', found [9, 3, 9, 9]"),
        ({"x": np.zeros((9, 8, 8, 3), "f4")}, "The data is channels last and the model is not: x.transpose(0, 3,"),
        ({"x": np.zeros((9, 3, 8, 8), "u1")}, "expected float32 for input 'image', found uint8"),
        ({"x": np.full((9, 3, 8, 8), np.nan, "f4")}, "1728 values are not finite"),
        ({"x": np.zeros((0, 3, 8, 8), "f4")}, "array 'x' is empty"),
        ({"x": np.zeros((9, 3, 8, 8), "f4"), "y": np.zeros(8, "i8")}, "8 labels for 9 samples"),
    ],
    ids=["names", "shape", "layout", "dtype", "nan", "empty", "labels"],
)  # fmt: skip
def test_wrong_data(run: Run, here: Path, arrays: dict[str, np.ndarray], said: str) -> None:
    np.savez(here / "data.npz", **arrays)
    check(run("net.pt2", "--int8", "--data", "data.npz"), 2, "error: --data data.npz: ", said)


def test_missing_data(run: Run, here: Path) -> None:
    (here / "digits.npz").touch()
    check(run("net.pt2", "--int8", "--data", "digit.npz"), 2, "no such file or folder", "Did you mean digits.npz?")


def test_random_data_is_shouted_about(run: Run) -> None:
    done = run("net.pt2", "--int8", "--data", "random", "--quiet")
    assert done.code == 0, done.err
    assert "WARNING: --data random." in done.err
    assert "its accuracy means nothing" in done.err
    sidecar = json.loads(Path("out/net.int8.onnx.json").read_text())
    assert sidecar["artifact"]["command"].count("--data random") == 1


# What cannot be converted


def test_all_unsupported_operators_are_listed_with_their_place(run: Run) -> None:
    for package in ("litert_torch", "executorch"):
        pytest.importorskip(package, reason="needs the extras tflite and executorch")
    done = run("unsupported.pt2", to="all", output="out")
    place = f"(top) (code_of_user.py:{line_of('torch.linalg.eigvalsh')})"
    inner = f"first (code_of_user.py:{line_of('torch.linalg.inv')})"
    check(done, 4)
    lines = {line.split()[1]: line for line in done.err.splitlines() if line.startswith("failed: ")}
    assert set(lines) == {"tflite", "onnx", "executorch"}
    for target, line in lines.items():
        assert "of this model" in line
        assert f"eigh.default at {place}" in line, target
        assert f"linalg_inv_ex.default at {inner}" in line, target
        assert f"bessel_j0.default at {inner}" in line, target
        assert "with_effects" not in line


def test_training_mode(run: Run) -> None:
    check(run("training.pt2"), 5, "training.pt2: the program was exported in training mode", "model.eval()")


def test_unknown_scheme(run: Run) -> None:
    check(run("net.pt2", "--quant", "int3"), 2, "--quant int3: no such scheme.", "There are float32, ")


def test_constant_output_is_not_passed(run: Run) -> None:
    said = "the source's own output is the same for all 8 inputs, so nothing can be proven"
    check(run("constant.pt2"), 7, "constant.float32.onnx was not handed over", said, "--no-verify")


def test_a_limit_that_nothing_can_reach(run: Run) -> None:
    done = run("net.pt2", "--min-sqnr", "300")
    check(done, 7, "net.float32.onnx was not handed over", "is below the limit of 300 dB", "--min-sqnr DB")


def test_one_failure_does_not_stop_the_others(run: Run, here: Path) -> None:
    np.savez(here / "data.npz", x=np.random.default_rng(3).standard_normal((16, 3, 8, 8), np.float32))
    done = run("net.pt2", "--quant", "float32", "--int8", "--data", "data.npz", "--min-sqnr", "90")
    assert done.code == 7
    assert "failed: onnx int8: net.int8.onnx was not handed over" in done.err
    assert left(here / "out") == ["net.float32.onnx", "net.float32.onnx.json"]


# The output


def test_existing_output(run: Run, here: Path) -> None:
    (here / "kept").mkdir()
    (here / "kept" / "net.float32.onnx").write_text("precious")
    check(run("net.pt2", output="kept"), 2, "kept/net.float32.onnx exists already.", "--force")
    assert (here / "kept" / "net.float32.onnx").read_text() == "precious"


def test_output_that_cannot_be_written(run: Run, here: Path) -> None:
    check(run("net.pt2", output="/proc/nowhere"), 2, "cannot make the folder /proc/nowhere")
    (here / "file").touch()
    check(run("net.pt2", output="file/deeper"), 2, "cannot make the folder file/deeper: Not a directory")


def test_output_disk_full(run: Run, tiny_disk: Path) -> None:
    (tiny_disk / "rest").write_bytes(bytes((256 << 10) - 4096))
    done = run("net.pt2", output=str(tiny_disk))
    check(done, 2, "net.float32.onnx: cannot be written: No space left on device", "--output FOLDER")
    assert left(tiny_disk) == ["rest"]


def test_temporary_disk_full(run: Run, tiny_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tiny_disk))
    (tiny_disk / "rest").write_bytes(bytes((256 << 10) - (64 << 10)))
    done = run("net.pt2")
    check(done, 2, f"The disk that holds temporary files is full ({tiny_disk}).", "TMPDIR=")
    assert left(tiny_disk) == ["rest"]


# --json


def test_json_on_errors(run: Run) -> None:
    done = run("weights.pt", "--json")
    check(done, 2, "error: weights.pt: weights alone")
    (failure,) = json.loads(done.out)["failures"]
    assert failure["error"] == "UsageError"
    assert failure["exit_code"] == 2
    assert failure["message"].startswith("weights.pt: weights alone")
    assert "--model" in failure["hint"]


def test_json_on_failures_of_a_target(run: Run) -> None:
    done = run("constant.pt2", "--json")
    check(done, 7)
    report = json.loads(done.out)
    assert report["artifacts"] == []
    assert [(failure["what"], failure["exit_code"]) for failure in report["failures"]] == [("onnx float32", 7)]


def test_json_on_wrong_options(run: Run) -> None:
    done = run("net.pt2", "--json", "--no-such-option")
    check(done, 2, "No such option")
    (failure,) = json.loads(done.out)["failures"]
    assert failure["error"] == "UsageError"
    assert "--no-such-option" in failure["message"]


def test_faults_of_edgekit_show_no_traceback(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fault(*_: object) -> None:
        raise KeyError("inner")

    monkeypatch.setattr(convert, "destinations", fault)
    check(run("net.pt2"), 1, "Unexpected KeyError: 'inner'", "edgekit --debug")


# Interrupted


def processes_that_mention(text: str) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if text.encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return found


@pytest.mark.parametrize(
    ("stage", "number"),
    [
        ("read and export", signal.SIGINT),
        ("read and export", signal.SIGTERM),
        ("torch.export -> ONNX", signal.SIGINT),
        ("verify", signal.SIGINT),
    ],
)
def test_interrupt_leaves_no_child_and_no_file(here: Path, tmp_path: Path, stage: str, number: int) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    arguments = ["weights.pt", "--model", "code_of_user.py:Net", "--input", "1,3,8,8"]
    if stage == "read and export":
        arguments[2] = "code_of_user.py:sleepy"
    elif stage == "verify":
        arguments[2:5] = ["code_of_user.py:Slow", "--input", "1,3,32,32"]
    command = subprocess.Popen(
        [sys.executable, "-m", "edgekit", "convert", *arguments, "--to", "onnx", "--output", "out"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(scratch)},
    )
    assert command.stderr is not None
    for line in command.stderr:
        if line.startswith("… ") and stage in line:
            break
    if stage == "read and export":
        deadline = time.monotonic() + PATIENCE_S
        while not (here / "asleep").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
    command.send_signal(number)
    out, err = command.communicate(timeout=PATIENCE_S)
    assert command.returncode == 130, err
    assert "Interrupted" in err
    assert "Traceback" not in err
    assert out == ""
    assert processes_that_mention(str(scratch)) == []
    assert left(scratch) == []
    assert left(here / "out") == []
