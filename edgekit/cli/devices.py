"""``edgekit devices``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgekit.cli import print_json
from edgekit.cli._options import output_options
from edgekit.errors import DeviceError

if TYPE_CHECKING:
    from edgekit.device_plugins import Device

_EPILOG = """\b
Examples:
  edgekit devices list
  edgekit devices add pi ssh://pi@raspberrypi.local
  edgekit devices check pi
  edgekit devices setup pi
  edgekit profile model.tflite --device pi
"""


@click.group("devices", epilog=_EPILOG)
def command() -> None:
    """Find, name, check and set up attached devices: a Raspberry Pi over ssh, a phone over adb."""


@command.command("list", epilog="\b\nExample:\n  edgekit devices list --json")
@output_options
def list_devices(as_json: bool, quiet: bool) -> None:
    """Show devices that could be used: named ones, those of adb, and hosts in the ssh settings."""
    from edgekit.devices import discovered
    from edgekit.types import SCHEMA_VERSION, to_json

    found = discovered()
    if as_json:
        print_json({"schema_version": SCHEMA_VERSION, "devices": [to_json(one) for one in found]})
    else:
        from edgekit.report.console import stdout_console
        from edgekit.report.devices_table import show_list

        show_list(found, stdout_console())


@command.command("add", epilog="\b\nExample:\n  edgekit devices add pi ssh://pi@raspberrypi.local")
@click.argument("name")
@click.argument("address")
@output_options
def add_device(name: str, address: str, as_json: bool, quiet: bool) -> None:
    """Give a device a name, for --device. It is not connected to."""
    from edgekit.devices import add, file
    from edgekit.types import SCHEMA_VERSION

    found = add(name, address)
    if as_json:
        print_json({"schema_version": SCHEMA_VERSION, "name": found.name, "address": found.address})
    else:
        click.echo(f"{found.name} is {found.address} from now on (kept in {file()}).")


@command.command("remove", epilog="\b\nExample:\n  edgekit devices remove pi")
@click.argument("name")
@output_options
def remove_device(name: str, as_json: bool, quiet: bool) -> None:
    """Forget a name. What lies on the device stays: setup --clean removes that."""
    from edgekit.devices import remove
    from edgekit.types import SCHEMA_VERSION

    remove(name)
    if as_json:
        print_json({"schema_version": SCHEMA_VERSION, "removed": name})
    else:
        click.echo(f"{name} is forgotten.")


@command.command("check", epilog="\b\nExample:\n  edgekit devices check pi adb:R58M12ABCDE")
@click.argument("devices", nargs=-1, required=True, metavar="NAME|ADDRESS...")
@output_options
def check_devices(devices: tuple[str, ...], as_json: bool, quiet: bool) -> int:
    """Look at all that measuring there needs, and say what is missing or would spoil figures.

    Exit code 8 when a device cannot be used.
    """
    from edgekit.device_types import DeviceCheck, Remark
    from edgekit.types import SCHEMA_VERSION, to_json

    found = []
    for typed in devices:
        try:
            with _connected(typed, quiet) as device:
                found.append(device.check())
        except DeviceError as error:
            remark = Remark("reachable", "missing", error.message, error.hint)
            found.append(DeviceCheck(typed, typed, None, (remark,)))
    if as_json:
        checks = [{**to_json(one), "usable": one.usable} for one in found]
        print_json({"schema_version": SCHEMA_VERSION, "devices": checks})
    else:
        from edgekit.report.console import stdout_console
        from edgekit.report.devices_table import show_check

        for one in found:
            show_check(one, stdout_console())
    return 0 if all(one.usable for one in found) else DeviceError.exit_code


@command.command(
    "setup",
    epilog="\b\nExamples:\n  edgekit devices setup pi\n  edgekit devices setup pi --runtime executorch\n"
    "  edgekit devices setup pi --wheels folder\n  edgekit devices setup pi --clean",
)
@click.argument("device", metavar="NAME|ADDRESS")
@click.option(
    "--runtime", "runtimes", multiple=True, metavar="NAME",
    help="Runtime to install: litert, onnxruntime, executorch. Repeatable.  [default: litert, onnxruntime]",
)  # fmt: skip
@click.option(
    "--wheels", metavar="FOLDER", type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Take wheels for the device from here; this machine's pip downloads them otherwise.",
)  # fmt: skip
@click.option("--pip", "pip", multiple=True, metavar="WORD", help="Further word for pip download. Repeatable.")
@click.option("--clean", is_flag=True, help="Remove everything of edgekit's from the device instead.")
@output_options
def set_up(
    device: str,
    runtimes: tuple[str, ...],
    wheels: Path | None,
    pip: tuple[str, ...],
    clean: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Put runtimes on a device that needs neither pip nor internet for it.

    Wheels for its Python, processor and C library are downloaded on this machine, unpacked, sent, and tried there.
    What is there already is not sent again.
    """
    from edgekit.device_plugins import SetupOptions
    from edgekit.types import SCHEMA_VERSION, to_json

    with _connected(device, quiet) as connected:
        if clean:
            folder = connected.clean()
            if as_json:
                print_json({"schema_version": SCHEMA_VERSION, "removed": folder})
            else:
                click.echo(f"Removed {folder or 'nothing'} on {device}.")
            return
        found = connected.setup(SetupOptions(runtimes, wheels, pip))
    if as_json:
        print_json({"schema_version": SCHEMA_VERSION, **to_json(found)})
    else:
        from edgekit.report.console import stdout_console
        from edgekit.report.devices_table import show_setup

        show_setup(found, stdout_console())


@contextmanager
def _connected(typed: str, quiet: bool) -> Iterator[Device]:
    from edgekit.cli._progress import progress_display
    from edgekit.device_plugins import ConnectOptions
    from edgekit.devices import resolve
    from edgekit.scratch import scratch_folder

    resolved = resolve(typed)
    with progress_display(quiet) as progress, scratch_folder() as scratch:
        label = f"connect to {resolved.name}"
        progress.start(label)
        try:
            connected = resolved.connect(ConnectOptions(scratch=scratch, name=resolved.name, progress=progress))
        finally:
            progress.end(label)
        with connected as device:
            yield device
