from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from local_transport import LocalTransport
from tiny_models import IMAGE, MODELS

from edgekit import data, feeds
from edgekit.errors import DeviceError, LinkLostError, MeasurementError, UsageError
from profiles.devices import _store
from profiles.devices._remote import RemoteDevice
from profiles.devices._remote_session import RemoteSession

TIMEOUT_S = 60.0


def open_one(device: RemoteDevice, tmp_path: Path, model: str | Path = "tiny.tflite") -> RemoteSession:
    target = {".tflite": "tflite", ".onnx": "onnx"}[Path(model).suffix]
    session = device.open_session(MODELS / model, target, 1, None, tmp_path / "scratch", TIMEOUT_S)
    assert isinstance(session, RemoteSession)
    return session


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return feeds.write(tmp_path / "images", data.random_feeds(IMAGE, 6, 0, {}))


def agents() -> list[str]:
    """Agents and keepers of this file's devices that run now; the emulated machine has some, too."""
    found = subprocess.run(["pgrep", "-af", "edge kit/files/.*model.pyz"], capture_output=True, text=True, check=False)
    return [line for line in found.stdout.splitlines() if "edge kit" in line]  # others test with other homes


@pytest.mark.parametrize("model", ["tiny.tflite", "tiny.onnx"])
def test_a_file_runs_there_as_it_runs_here(device: RemoteDevice, tmp_path: Path, images: Path, model: str) -> None:
    from edgekit import registry

    target = {"tiny.tflite": "tflite", "tiny.onnx": "onnx"}[model]
    with registry.host().open_session(MODELS / model, target, 1, None, tmp_path, TIMEOUT_S) as here:
        expected = feeds.read(here.outputs(images, tmp_path / "here"))
    with open_one(device, tmp_path, model) as session:
        assert session.load()["load_ns"] > 0
        assert session.first(images)["first_ns"] > 0
        assert len(session.time(1, 5)["ns"]) == 5
        assert session.conditions()["affinity"]
        told: list[int] = []
        found = feeds.read(session.outputs(images, tmp_path / "there", told.append))
    assert told[-1] == 6
    for name, array in expected.arrays.items():
        np.testing.assert_array_equal(found.arrays[name], array)
    assert not agents()


def test_what_was_sent_is_not_sent_again(transport: LocalTransport, device: RemoteDevice, tmp_path: Path) -> None:
    model = tmp_path / "model;touch hurt.tflite"
    model.write_bytes((MODELS / "tiny.tflite").read_bytes())
    first = device.store.file(model)
    assert device.store.sent_bytes == model.stat().st_size
    again = _store.Store(transport, "board", device.progress)
    assert again.file(model) == first
    assert again.sent_bytes == 0
    assert "hurt" not in Path(first).name


def test_the_oldest_files_go_when_there_are_too_many(
    transport: LocalTransport, device: RemoteDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_store, "LIMIT_BYTES", 3_000_000)
    places = []
    for number in range(4):
        path = tmp_path / f"{number}.tflite"
        path.write_bytes(os.urandom(1_500_000))
        places.append(Path(device.store.file(path)))
        os.utime(places[-1], (number, number))
    assert [place.exists() for place in places] == [False, False, True, True]


def test_a_lost_link_is_made_again_and_the_rounds_go_on(
    transport: LocalTransport, device: RemoteDevice, tmp_path: Path, images: Path
) -> None:
    with open_one(device, tmp_path) as session:
        session.first(images)
        session.time(0, 3)
        transport.cut()
        found = session.time(0, 4)
        assert len(found["ns"]) == 4
        assert found["away_ns"] > 0
        assert "away_ns" not in session.time(0, 4)
        assert transport.reconnections == 1
        assert session.link_notes == ("the connection was lost once; the measurement went on after it.",)
        transport.cut()
        assert feeds.read(session.outputs(images, tmp_path / "out")).count == 6
    assert not agents()


def test_a_lost_link_is_that_of_every_session(
    transport: LocalTransport, device: RemoteDevice, tmp_path: Path, images: Path
) -> None:
    with open_one(device, tmp_path) as one, open_one(device, tmp_path, "tiny.onnx") as other:
        for session in (one, other):
            session.first(images)
        transport.cut()
        for session in (one, other):
            assert len(session.time(0, 2)["ns"]) == 2
            assert session.link_notes
    assert transport.reconnections == 1
    assert not agents()


def test_a_link_that_is_gone_is_waited_for_once(
    transport: LocalTransport, device: RemoteDevice, tmp_path: Path, images: Path
) -> None:
    with open_one(device, tmp_path) as one, open_one(device, tmp_path, "tiny.onnx") as other:
        for session in (one, other):
            session.first(images)
        transport.cut(returns=False)
        for session in (one, other):
            with pytest.raises(LinkLostError, match="did not come back"):
                session.time(0, 2)
            assert not session.link_notes
        assert transport.reconnections == 2  # the two waits of this file's device
        transport.up = True


def test_a_link_that_does_not_come_back_ends_with_an_error(
    transport: LocalTransport, device: RemoteDevice, tmp_path: Path, images: Path
) -> None:
    with open_one(device, tmp_path) as session:
        session.first(images)
        transport.cut(returns=False)
        with pytest.raises(LinkLostError, match="did not come back") as caught:
            session.time(0, 3)
        assert caught.value.exit_code == 8
        assert "same command again" in caught.value.hint
        transport.up = True


def test_a_link_that_is_lost_again_and_again_ends_with_an_error(
    transport: LocalTransport, device: RemoteDevice, tmp_path: Path, images: Path
) -> None:
    with open_one(device, tmp_path) as session:
        session.first(images)
        for _ in range(3):
            transport.cut()
            session.time(0, 1)
        transport.cut()
        with pytest.raises(LinkLostError):
            session.time(0, 1)
        transport.up = True


def test_a_killed_agent_is_no_lost_link(
    transport: LocalTransport, device: RemoteDevice, tmp_path: Path, images: Path
) -> None:
    with open_one(device, tmp_path) as session:
        session.first(images)
        for line in agents():
            if "--keep" not in line:
                os.kill(int(line.split()[0]), signal.SIGKILL)
        with pytest.raises(MeasurementError, match="in LiteRT on board was killed by SIGKILL"):
            session.time(0, 3)
    assert transport.reconnections == 0
    assert not agents()


def test_an_agent_that_stands_still_is_ended_by_the_time_limit(
    device: RemoteDevice, tmp_path: Path, images: Path
) -> None:
    with open_one(device, tmp_path) as session:
        session.first(images)
        for line in agents():
            if "--keep" not in line:
                os.kill(int(line.split()[0]), signal.SIGSTOP)
        session.timeout_s = 1.0
        with pytest.raises(MeasurementError, match="time limit"):
            session.time(0, 3)
    assert not agents()


def test_a_keeper_ends_its_agent_when_nothing_comes_any_more(
    transport: LocalTransport, device: RemoteDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("profiles.devices._remote.SILENCE_S", 1.0)
    session = open_one(device, tmp_path)
    session.load()  # heartbeats come every ten seconds, a second of silence is enough here
    deadline = time.monotonic() + 20
    while agents() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not agents()
    with pytest.raises(MeasurementError, match="on board"):
        session.time(0, 1)
    session.close()


def test_the_folder_of_a_dead_command_is_removed_by_the_next(transport: LocalTransport, device: RemoteDevice) -> None:
    runs = Path(transport.home) / "run"
    dead = runs / "dead"
    dead.mkdir(parents=True)
    (dead / "pid").write_text("999999999")
    device.hold()
    assert not dead.exists()
    assert len(list(runs.iterdir())) == 1


def test_a_runtime_that_is_missing_there_is_told_with_the_command(
    transport: LocalTransport, device: RemoteDevice, tmp_path: Path
) -> None:
    (transport.root / "bin" / "python3").write_text('#!/bin/sh\nexec /usr/bin/python3 -S "$@"\n')
    with pytest.raises(DeviceError, match="LiteRT is not installed there") as caught:
        open_one(device, tmp_path)
    assert "edgekit devices setup board --runtime litert" in caught.value.hint


def test_cpus_are_those_of_the_device(device: RemoteDevice, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="board has no CPU 512"):
        device.open_session(MODELS / "tiny.tflite", "tflite", 1, None, tmp_path / "scratch", TIMEOUT_S, affinity=(512,))


def test_everything_can_be_removed(transport: LocalTransport, device: RemoteDevice) -> None:
    device.store.file(MODELS / "tiny.onnx")
    assert device.clean() == transport.home
    assert not Path(transport.home).exists()


def test_names_of_tensors_and_files_do_no_harm(device: RemoteDevice, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    name = "x; touch hurt\n'$(touch hurt)' `touch hurt` \"\x1b[31m"
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Neg", [name], [f"out {name}"])],
        "graph",
        [value(name, onnx.TensorProto.FLOAT, [1, 4])],
        [value(f"out {name}", onnx.TensorProto.FLOAT, [1, 4])],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path / "$(touch hurt);'\n.onnx"
    onnx.save(model, path)
    samples = feeds.write(tmp_path / "samples", feeds.Feeds({name: np.ones((2, 1, 4), np.float32)}))
    with device.open_session(path, "onnx", 1, None, tmp_path / "scratch", TIMEOUT_S) as session:
        session.first(samples)
        found = feeds.read(session.outputs(samples, tmp_path / "out"))
    assert list(found.arrays) == [f"out {name}"]
    assert (found.arrays[f"out {name}"] == -1).all()
    assert not list(tmp_path.rglob("hurt"))
    assert not list(Path.cwd().glob("hurt"))
