# SPDX-License-Identifier: GPL-3.0-or-later
"""The codes and the few exceptions that a person or a script meets."""

from __future__ import annotations

from enum import IntEnum


class Code(IntEnum):
    """What a command returns, and what a command line exits with."""

    SUCCEEDED = 0
    FAILED = 1
    BLOCKED = 2
    NOT_ACCEPTED = 3
    NOT_MANUAL = 10
    OUT_OF_RANGE = 11
    DEVICE_OFFLINE = 12
    DEVICE_REFUSED = 13
    HELD = 14
    UNREACHABLE = 155

    @property
    def label(self) -> str:
        """The code in words, without details."""
        return _LABELS[self]


_LABELS = {
    Code.SUCCEEDED: "succeeded",
    Code.FAILED: "command failed",
    Code.BLOCKED: "another command is running",
    Code.NOT_ACCEPTED: "command not accepted from this machine or user",
    Code.NOT_MANUAL: "not in manual mode",
    Code.OUT_OF_RANGE: "value out of range",
    Code.DEVICE_OFFLINE: "device is offline",
    Code.DEVICE_REFUSED: "device refused",
    Code.HELD: "held by a protection",
    Code.UNREACHABLE: "unable to communicate with daemon",
}

USAGE_ERROR = 64
"""Exit code of a command line that was not understood (EX_USAGE of sysexits.h)."""
CONFIG_ERROR = 78
"""Exit code of a config that is not valid or not found (EX_CONFIG of sysexits.h)."""


def describe_code(code: int) -> str:
    """The meaning of a code in words; for a number that is no code, the number."""
    try:
        return Code(code).label
    except ValueError:
        return f"code {code}"


class CommandError(Exception):
    """The one exception that crosses the wire: a code of `Code` and a sentence."""

    def __init__(self, code: int, message: str = "") -> None:
        super().__init__(code, message)
        self.code = int(code)
        self.message = message or describe_code(int(code))

    def __str__(self) -> str:
        return self.message


class Unreachable(CommandError):
    """No daemon answered at that address. Raised by clients only; never sent."""

    def __init__(self, message: str) -> None:
        super().__init__(Code.UNREACHABLE, message)


class StartError(Exception):
    """A daemon cannot start (port taken, second instance, no permission). The message says what to do. Exit 1."""


class ConfigError(Exception):
    """A config cannot be used. `problems` holds a sentence for each thing wrong, all of them at once."""

    def __init__(self, source: str, problems: list[str]) -> None:
        super().__init__(source, problems)
        self.source = source
        self.problems = problems

    def __str__(self) -> str:
        if len(self.problems) == 1:
            return f"{self.source}: {self.problems[0]}"
        return f"{self.source}: {len(self.problems)} problems\n" + "\n".join(f"  {p}" for p in self.problems)
