"""Files that a device keeps, by the hash of their content: what was sent once is not sent again."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Callable
from pathlib import Path

from edgekit.progress import Progress
from edgekit.publish import sha256
from profiles.conditions import hash_of
from profiles.devices._transport import Transport

LIMIT_BYTES = 2_000_000_000
"""Of all kept files together; those that were not used for the longest time go."""


class Store:
    """The kept files of one device.

    Args:
        transport: To the device.
        name: Of the device, for progress.
        progress: Told what is sent.

    Attributes:
        sent_bytes: What went over the link so far.
    """

    def __init__(self, transport: Transport, name: str, progress: Progress) -> None:
        self.transport, self.name, self.progress = transport, name, progress
        self.sent_bytes = 0
        self._known: dict[str, str] = {}

    def file(self, path: Path) -> str:
        """Where the device has a file; it is sent if it is not there.

        Raises:
            DeviceError: It cannot be sent.
        """
        # Its own name is for people; runtimes go by content, or by the suffix at most.
        suffix = path.suffix if path.suffix[1:].isalnum() and path.suffix.isascii() else ""
        return self._place(path, lambda: sha256(path), f"model{suffix}")

    def samples(self, folder: Path) -> str:
        """Where the device has a feeds folder; it is sent if it is not there."""
        return self._place(folder, lambda: _hash_of_samples(folder), "samples")

    def _place(self, local: Path, hash_it: Callable[[], str], name: str) -> str:
        key = str(local.absolute())
        if key not in self._known:
            self._known[key] = self._sent(local, hash_it(), name)
        return self._known[key]

    def forget(self) -> None:
        """Look again: the device was away, and may have been cleaned."""
        self._known.clear()

    def _sent(self, local: Path, digest: str, name: str) -> str:
        folder = f"{self.transport.home}/files"
        place = f"{folder}/{digest[:40]}-{name}"
        quoted = shlex.quote(place)
        if self.transport.run(f"test -e {quoted} && touch -c {quoted}").code == 0:
            return place
        self._make_room(folder)
        label = f"send {local.name} to {self.name}"
        self.progress.start(label)
        try:
            self.transport.run(f"mkdir -p {shlex.quote(folder)}")
            self.transport.push(local, place, lambda done, total: self.progress.advance(label, done, total, "bytes"))
        finally:
            self.progress.end(label)
        self.sent_bytes += sum(one.stat().st_size for one in (local.rglob("*") if local.is_dir() else [local]))
        return place

    def _make_room(self, folder: str) -> None:
        """Remove what was not used for long, as long as there is too much, and what was half sent long ago."""
        script = (
            f"cd {shlex.quote(folder)} 2>/dev/null || exit 0; "
            "find . -maxdepth 1 -name '*.partial' -mmin +1440 -exec rm -rf {} + 2>/dev/null; "
            f'while [ "$(du -sk . | cut -f1)" -gt {LIMIT_BYTES // 1024} ]; do '
            'old=$(ls -1tr | head -n 1); [ -n "$old" ] || break; rm -rf "./$old"; done'
        )
        self.transport.run(script, timeout_s=120)


def _hash_of_samples(folder: Path) -> str:
    """Of values, names and their order; labels are not looked at on a device."""
    digest = hashlib.sha256((folder / "manifest.json").read_bytes())
    digest.update(hash_of(folder).encode())
    return digest.hexdigest()
