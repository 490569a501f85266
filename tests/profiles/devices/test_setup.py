from __future__ import annotations

import platform
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from local_transport import LocalTransport

from edgekit.device_types import DeviceFacts
from edgekit.errors import DeviceError
from profiles.agent import clusters
from profiles.devices import _check, _facts, _setup, _wheels

PI_5 = """processor\t: 0
CPU implementer\t: 0x41
CPU part\t: 0xd0b
processor\t: 1
CPU implementer\t: 0x41
CPU part\t: 0xd0b
Model\t: Raspberry Pi 5 Model B Rev 1.0
"""


def raw(**lines: str | list[str]) -> _facts.Raw:
    return _facts.Raw({key: [value] if isinstance(value, str) else value for key, value in lines.items()})


@pytest.mark.parametrize(
    ("machine", "elf", "expected"),
    [
        ("aarch64", "7f 45 4c 46 02", "aarch64"),
        ("aarch64", "7f 45 4c 46 01", "armv7l"),
        ("x86_64", "7f 45 4c 46 01", "i686"),
        ("armv7l", "7f 45 4c 46 01", "armv7l"),
        ("riscv64", "", "riscv64"),
    ],
)
def test_a_64_bit_kernel_may_run_a_32_bit_system(machine: str, elf: str, expected: str) -> None:
    assert _facts.machine(raw(machine=machine, elf=elf)) == expected


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ({"libc": "glibc 2.36"}, "glibc 2.36"),
        ({"ldd": "ldd (Debian GLIBC 2.31-13+deb11u5) 2.31"}, "glibc 2.31"),
        ({"ldd": ["musl libc (aarch64)", "Version 1.2.4"]}, "musl 1.2.4"),
        ({"android": "14"}, "bionic"),
        ({}, ""),
    ],
)
def test_libraries_of_c(lines: dict[str, Any], expected: str) -> None:
    assert _facts.libc(raw(**lines)) == expected


def test_tags_of_wheels() -> None:
    old = _wheels.platform_of("3.9.2", "aarch64", "glibc 2.31")
    assert old.tags[0] == "manylinux_2_31_aarch64"
    assert {"manylinux_2_17_aarch64", "manylinux2014_aarch64"} <= set(old.tags)
    assert "manylinux_2_32_aarch64" not in old.tags
    assert _wheels.platform_of("3.12.1", "x86_64", "musl 1.2.4").tags[0] == "musllinux_1_2_x86_64"
    with pytest.raises(DeviceError, match="no wheels for a machine with bionic"):
        _wheels.platform_of("3.11.2", "aarch64", "bionic")


def test_a_missing_wheel_is_named_with_what_it_would_be_called(tmp_path: Path) -> None:
    platform = _wheels.platform_of("3.11.2", "aarch64", "glibc 2.36")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DeviceError) as caught:
        _wheels.download("onnxruntime", platform, tmp_path / "empty", (), tmp_path / "kept", _Quiet())
    assert "has no wheel of numpy for Python 3.11, manylinux_2_36_aarch64" in caught.value.message
    assert "numpy-…-cp311-cp311-manylinux_2_36_aarch64.whl" in caught.value.hint


def test_a_wheel_for_another_machine_is_named(tmp_path: Path) -> None:
    platform = _wheels.platform_of("3.11.2", "aarch64", "glibc 2.36")
    wheel = tmp_path / "numpy-2.0.0-cp311-cp311-manylinux_2_17_x86_64.whl"
    wheel.write_bytes(b"")
    with pytest.raises(DeviceError, match=r"numpy-2.0.0-cp311-cp311-manylinux_2_17_x86_64.whl is no wheel for"):
        _wheels.unpack([wheel], platform, tmp_path / "tree")


@pytest.mark.parametrize("required", ["<3.10", ">=3.99"])
def test_wheels_are_for_the_python_there_and_not_for_this_one(tmp_path: Path, required: str) -> None:
    name = tmp_path / "small-1.0-py3-none-any.whl"
    with zipfile.ZipFile(name, "w") as archive:
        archive.writestr("small.py", "")
        head = f"Metadata-Version: 2.1\nName: small\nVersion: 1.0\nRequires-Python: {required}\n"
        archive.writestr("small-1.0.dist-info/METADATA", head)
        tag = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        archive.writestr("small-1.0.dist-info/WHEEL", tag)
        archive.writestr("small-1.0.dist-info/RECORD", "")
    _wheels.unpack([name], _wheels.platform_of("3.9.2", "aarch64", "glibc 2.31"), tmp_path / "tree")
    assert (tmp_path / "tree" / "small.py").exists()


def test_kinds_of_cpus_the_fastest_last() -> None:
    parts = {cpu: "0xd05" if cpu < 4 else "0xd41" for cpu in range(6)}
    cpuinfo = "".join(
        f"processor\t: {cpu}\nCPU implementer\t: 0x41\nCPU part\t: {part}\n" for cpu, part in parts.items()
    )
    found = clusters.of(cpuinfo, {cpu: 250 if cpu < 4 else 1024 for cpu in range(6)}, {0: 1_800_000})
    assert [one["part"] for one in found][-1] == "Cortex-A78"
    assert found[-1]["cpus"] == [4, 5]
    assert len(clusters.of(PI_5, {}, {})) == 1


class _Quiet:
    def start(self, label: str) -> None: ...

    def advance(self, label: str, done: int, total: int, unit: str = "") -> None: ...

    def end(self, label: str) -> None: ...

    def say(self, text: str) -> None: ...


def facts(**changed: Any) -> DeviceFacts:
    found = {
        "name": "pi", "system": "Linux 6", "machine": "aarch64", "cpu": "Cortex-A76", "cores": 4,
        "memory_bytes": 4 * 10**9, "python": "3.11.2", "load_average": 0.1, "libc": "glibc 2.36",
        "runtimes": {"litert": "2.3.0"},
    }  # fmt: skip
    return DeviceFacts(**{**found, **changed})


def remarks(found: DeviceFacts, **lines: str | list[str]) -> dict[str, tuple[str, str, str]]:
    class Nobody:
        address = "ssh://pi"

    said = raw(free=["Filesystem", "x 1 1 9000000 1% /"], **lines)
    checked = _check.check(Nobody(), "pi", found, said)  # type: ignore[arg-type]
    return {one.what: (one.state, one.words, one.hint) for one in checked.remarks}


def test_a_device_that_is_fit() -> None:
    found = remarks(facts())
    assert found["python"][0] == found["litert"][0] == "ok"
    assert found["onnxruntime"][0] == "warning"
    assert "onnxruntime-…-cp311-cp311-manylinux_2_36_aarch64.whl" in found["onnxruntime"][1]
    assert "governor" not in found


def test_what_is_missing_and_what_spoils_figures_has_a_remedy() -> None:
    found = remarks(
        facts(runtimes={}, load_average=9.0, emulated=True),
        governor=["0 ondemand", "1 ondemand"],
        temperature=["81000 cpu-thermal"],
        throttled="throttled=0x50005",
        date="1000",
    )
    assert found["litert"][0] == "missing"
    assert "edgekit devices setup pi --runtime litert" in found["litert"][2]
    assert "performance" in found["governor"][2]
    assert "81" in found["temperature"][1]
    assert "undervoltage" in found["throttled"][1]
    assert "throttled since boot" in found["throttled"][1]
    assert "power supply" in found["throttled"][2]
    assert {"emulated", "load", "clock"} <= set(found)


def test_without_python_there_are_two_ways() -> None:
    assert "apt install python3" in remarks(facts(python="", runtimes={}))["python"][2]
    android = remarks(facts(python="", runtimes={}, libc="bionic"))["python"][2]
    assert "Termux" in android
    assert "--runner" in android
    assert "3.9" in remarks(facts(python="3.7.3", runtimes={}))["python"][1]


def test_a_native_program_that_lies_ready_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_CONFIG", str(tmp_path))
    phone = facts(python="", runtimes={}, libc="bionic", abi="arm64-v8a")
    assert remarks(phone)["litert"][0] == "missing"
    program = tmp_path / "runners" / "arm64-v8a" / "benchmark_model"
    program.parent.mkdir(parents=True)
    program.touch()
    found = remarks(phone)
    assert found["litert"][:2] == ("ok", "benchmark_model, a native program, runs its files.")
    assert {state for state, _, _ in found.values()} == {"ok", "warning"}


def test_a_python_that_is_on_no_path_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    transport = LocalTransport(tmp_path, python=False)
    assert _facts.facts(transport, "phone").python == ""
    monkeypatch.setattr(_setup, "_TERMUX", sys.executable)
    assert _facts.facts(transport, "phone").python == platform.python_version()


def test_the_script_is_understood_by_a_plain_shell(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text(_facts._SCRIPT)
    found = subprocess.run(["dash", script], capture_output=True, text=True, check=True)
    assert found.stderr == ""
    assert "system\tLinux" in found.stdout
