"""Models, and a command line whose fork servers stay warm between tests.

Each command still reads, converts and checks in children of its own.
"""

from __future__ import annotations

import contextlib
import pickle
import signal
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from conversion import CODE, Done, Run

from edgekit import cli, convert
from edgekit.jobs import Workers


@pytest.fixture(scope="package")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models that tests share; none writes here."""
    torch = pytest.importorskip("torch", reason="needs the extra torch")
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason="needs the extra onnx")
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
    torch.jit.trace(network, image, check_trace=False).save(folder / "training.pt")
    export(network.eval(), "net.pt2")
    export(code.Constant(), "constant.pt2")
    export(code.Outer(), "unsupported.pt2")
    torch.save(network.state_dict(), folder / "weights.pt")
    torch.save(network, folder / "module.pt")
    (folder / "plain.pickle").write_bytes(pickle.dumps(network))
    sys.path.remove(str(folder))
    return folder


@pytest.fixture(scope="package")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    with Workers(tmp_path_factory.mktemp("warm"), parallel=2) as workers:
        yield workers


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
