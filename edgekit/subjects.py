"""Files on their way to a profile: each with its agent, what was read about it, and what went wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgekit import feeds, registry
from edgekit.device_plugins import Session
from edgekit.errors import EdgekitError, UnsupportedError
from edgekit.jobs import Job, Workers
from edgekit.paths import existing_file
from edgekit.plugins import Target
from edgekit.progress import Progress
from edgekit.publish import sha256
from edgekit.samples import target_of
from edgekit.types import Failure, NodeWork


@dataclass
class File:
    """A file, however often it is measured.

    Attributes:
        path: As it was given.
        target: ``None`` for what is no converted file.
        error: Why it cannot be measured.
        facts: What ``inspect`` says.
        sha256: Of the content.
    """

    path: Path
    target: Target | None = None
    error: EdgekitError | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    sha256: str = ""

    @property
    def work(self) -> tuple[NodeWork, ...]:
        """Its operators; empty where it could not be read."""
        return tuple(
            NodeWork(
                operator=row["operator"],
                node=row["node"],
                macs=row["macs"],
                weights_bytes=row["weights_bytes"],
                moved_bytes=row["moved_bytes"],
                explorer=None if row["explorer"] is None else (row["explorer"][0], row["explorer"][1]),
            )
            for row in self.facts.get("work") or ()
        )


@dataclass
class Subject:
    """One file with one number of threads, on its way to a profile or to a failure.

    Attributes:
        file: What is measured.
        threads: That the runtime may use.
        number: Its own among the subjects of a command.
        raw: What the agent said (:mod:`profiles.metrics`).
        feeds, outputs: Folders of the samples it ran on, and of what it made of them.
        notes: What a reader should know.
        error: Why there is no profile.
        agent: Open from the start.
    """

    file: File
    threads: int
    number: int
    raw: dict[str, Any] = field(default_factory=dict)
    feeds: Path | None = None
    outputs: Path | None = None
    notes: list[str] = field(default_factory=list)
    error: EdgekitError | None = None
    agent: Session | None = None

    @property
    def session(self) -> Session:
        """Its agent."""
        assert self.agent is not None  # noqa: S101 - opened for each file that has a target
        return self.agent

    @property
    def target(self) -> Target:
        """Of its file."""
        assert self.file.target is not None  # noqa: S101 - a file without one has failed
        return self.file.target

    def fail(self, error: EdgekitError) -> None:
        """It ends here, and the others go on."""
        self.error = error
        if self.agent is not None:
            self.agent.close()

    def failure(self, *, several: bool) -> Failure:
        """What stopped it.

        Args:
            several: Whether its file is measured with other numbers of threads too.
        """
        error = self.error
        assert error is not None  # noqa: S101 - asked of those that failed
        what = f"{self.file.path} ({self.threads} threads)" if several else str(self.file.path)
        return Failure(what, type(error).__name__, error.exit_code, error.message, error.hint, error.log)


def open_file(path: Path, *, runs_here: bool = True) -> File:
    """A file, with its target; a model that is no converted file has an error.

    Args:
        path: As it was given.
        runs_here: Whether it will run on this machine, which needs its runtime then.

    Raises:
        UsageError: There is no such file.
        MissingDependencyError: Its runtime is not installed.
    """
    file = File(existing_file(path))
    try:
        file.target = target_of(file.path)
    except UnsupportedError as error:
        file.error = error
        return file
    runtime = registry.runtimes()[file.target.runtime]
    if runs_here:
        registry.require(runtime.PACKAGES, runtime.EXTRA, f"Running {path.name} in {runtime.TITLE}")
    file.sha256 = sha256(file.path)  # reading it also brings it into the page cache, so that no load waits for a disk
    return file


Begun = list[tuple[File, Future[Any]]]
"""Files that are being read, for :func:`keep_contents`."""


def read_contents(files: Sequence[File], workers: Workers, timeout_s: float) -> Begun:
    """Begin to read what ``inspect`` says about each file."""
    begun = []
    for file in files:
        if file.target is None:
            continue
        try:
            registry.require(file.target.packages, file.target.extra, f"Reading {file.path.name}")
        except EdgekitError as error:
            file.facts = {"unavailable": error.message}
            continue
        begun.append((file, workers.submit(_reading(file, (), timeout_s))))
    return begun


def recount(subjects: Sequence[Subject], workers: Workers, timeout_s: float) -> Begun:
    """Begin to read files that leave sizes open once more, for the sizes that they are run on."""
    begun: Begun = []
    for one in subjects:
        known = "unavailable" not in one.file.facts and not any(one.file is file for file, _ in begun)
        if one.error is None and one.feeds is not None and known:
            sizes = {name: array.shape[1:] for name, array in feeds.read(one.feeds).arrays.items()}
            pairs = zip(one.session.signature.inputs, sizes.values(), strict=False)
            found = [(spec, sizes.get(spec.name, shape)) for spec, shape in pairs if None in spec.shape]
            typed = tuple(f"{spec.name}={','.join(map(str, shape))}" for spec, shape in found)
            if typed:
                begun.append((one.file, workers.submit(_reading(one.file, typed, timeout_s))))
    return begun


def _reading(file: File, inputs: tuple[str, ...], timeout_s: float) -> Job:
    assert file.target is not None  # noqa: S101 - only files with one are read
    arguments = {"path": str(file.path.absolute()), "inputs": list(inputs)}
    return Job(f"{file.path.name}: read weights", file.target.inspect, arguments, file.target.preload, timeout_s)


def keep_contents(begun: Iterable[tuple[File, Future[Any]]]) -> None:
    """Wait for it; where a file cannot be read, the reason is kept in its place."""
    for file, future in begun:
        try:
            file.facts = future.result()
        except EdgekitError as error:
            file.facts = {"unavailable": error.message}


def each(subjects: Sequence[Subject], label: str, progress: Progress, action: Callable[[Subject], None]) -> None:
    """Do something with each subject that is still well."""
    progress.start(label)
    try:
        for done, one in enumerate(subjects):
            progress.advance(label, done, len(subjects))
            if one.error is None:
                try:
                    action(one)
                except EdgekitError as error:
                    one.fail(error)
    finally:
        progress.end(label)
