"""Everything edgekit raises on purpose.

Each class has an exit code; each message says what happened and where, each hint what to type next.

    EdgekitError                    1
    ├── UsageError                  2   a file, an option or an output that cannot be used
    │   └── DataError               2   data that does not fit the model
    ├── MissingDependencyError      3   names the extra to install
    ├── UnsupportedError            4   names what would work
    ├── ConversionError             5   a converter or the model's own code failed
    │   └── ChildError              5   a child process died or ran out of time
    ├── MeasurementError            6   a runtime could not load or run a file
    ├── DriftError                  7   a file computes something else than its source
    ├── DeviceError                 8   a device cannot be reached or used
    │   └── LinkLostError           8   a connection that was there is gone
    ├── UntrustedError              9   a file would run code and nobody said it may
    ├── RegressionError            10   a budget of edgekit check is not kept
    ├── InconclusiveError          11   whether a budget is kept could not be told
    └── InterruptedByUserError    130   Ctrl-C
"""

from __future__ import annotations

from typing import Any, ClassVar


class EdgekitError(Exception):
    """Base of all errors a user can meet.

    Args:
        message: What happened and where, in one or two sentences.
        hint: What to type or change next; empty when there is nothing to say.
        log: Path of a kept log file, or empty.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "", log: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.log = log

    def to_json(self) -> dict[str, Any]:
        """The error as plain data, for crossing a process border or for ``--json``."""
        return {
            "error": type(self).__name__,
            "exit_code": self.exit_code,
            "message": self.message,
            "hint": self.hint,
            "log": self.log,
        }

    @staticmethod
    def from_json(data: dict[str, Any]) -> EdgekitError:
        """The error that :meth:`to_json` described."""
        kind = _all_errors()[data["error"]]
        return kind(data["message"], hint=data["hint"], log=data["log"])


class UsageError(EdgekitError):
    """A file, an option or an output that cannot be used as asked."""

    exit_code = 2


class DataError(UsageError):
    """Data that does not fit the model's signature."""


class MissingDependencyError(EdgekitError):
    """A package that an extra of edgekit would install."""

    exit_code = 3


class UnsupportedError(EdgekitError):
    """A combination, operator or file that cannot be converted; the message names what would work."""

    exit_code = 4


class ConversionError(EdgekitError):
    """A converter, or the model's own code, failed."""

    exit_code = 5


class ChildError(ConversionError):
    """A child process was killed, aborted or ran past its time limit."""


class MeasurementError(EdgekitError):
    """A runtime could not load or run a file."""

    exit_code = 6


class DriftError(EdgekitError):
    """A converted file computes something else than its source."""

    exit_code = 7


class DeviceError(EdgekitError):
    """A device that cannot be reached or used."""

    exit_code = 8


class LinkLostError(DeviceError):
    """A connection to a device that was there is gone; connecting again may help."""


class UntrustedError(EdgekitError):
    """A file that would run code when it is loaded."""

    exit_code = 9


class RegressionError(EdgekitError):
    """A file that does not keep a budget of ``edgekit check``."""

    exit_code = 10


class InconclusiveError(EdgekitError):
    """A budget of which nobody can say whether it is kept: the figures are too uncertain, or are not there."""

    exit_code = 11


class InterruptedByUserError(EdgekitError):
    """The user pressed Ctrl-C."""

    exit_code = 130


def first_line(error: BaseException, *, of_cause: bool = False) -> str:
    """What another library's error says, in one line of 300 characters at most.

    Args:
        error: The error.
        of_cause: Follow ``raise … from`` to where it began.
    """
    while of_cause and error.__cause__ is not None:
        error = error.__cause__
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return lines[0].strip()[:300] if lines else type(error).__name__


def _all_errors() -> dict[str, type[EdgekitError]]:
    found: dict[str, type[EdgekitError]] = {}
    todo: list[type[EdgekitError]] = [EdgekitError]
    while todo:
        kind = todo.pop()
        found[kind.__name__] = kind
        todo.extend(kind.__subclasses__())
    return found
