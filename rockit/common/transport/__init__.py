# SPDX-License-Identifier: GPL-3.0-or-later
"""Ports and lines: the only place that opens one."""

from __future__ import annotations


class LineError(Exception):
    """The line to the device failed. The message says what happened and, where it helps, what to do."""


class PortLost(LineError):
    """The port is not there, cannot be opened, or broke while in use."""


class NoAnswer(LineError):
    """The port works; no whole, right answer came in time, or what came was damaged."""


class Stopped(LineError):
    """The daemon is stopping: the wait was given up."""
