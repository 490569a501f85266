"""Model files, code and data that a user can get wrong: exit code, message, and no file left behind."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conversion import Run, check, line_of

torch = pytest.importorskip("torch", reason="needs the extra torch")


# The model file


def test_missing_file(run: Run) -> None:
    check(run("weihgts.pt"), 2, "weihgts.pt: no such file.", "Did you mean weights.pt?")


def test_missing_folder(run: Run) -> None:
    check(run("nowhere/net.pt2"), 2, "nowhere/net.pt2: no such file.", "There is no folder nowhere either.")


def test_directory(run: Run, here: Path) -> None:
    (here / "models").mkdir()
    (here / "models" / "best.pt").touch()
    check(run("models"), 4, "models: not a model folder that edgekit knows", "It holds best.pt.", "name a file in it")


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
    check(run("noise.pt"), 4, "noise.pt: not a model file that edgekit knows", "Known: ")


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
    (here / "model.pte").write_bytes(b"\x1c\0\0\0ET12" + bytes(100))
    check(run("model.pte"), 4, "as a source is not supported yet", "edgekit profile model.pte")


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
