# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds serial ports, their lasting names, who uses them, and, when asked to, which chiller is behind one."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from rockit.boiler.protocols import ds18b20
from rockit.chiller import drivers, simulators
from rockit.common.cli import styled
from rockit.common.framing import ProtocolError
from rockit.common.inputs import InputProblem
from rockit.common.transport import LineError, PortLost
from rockit.common.transport.line import Line
from rockit.common.transport.onewire import ROOT, read_w1
from rockit.common.who import holder_of
from rockit.tool.survey import survey

NUMATO = 0x2A19
"""The USB vendor of Numato's relay boards."""
PROBE_TIMEOUT = 1.5
"""How long a probe waits for each driver's answer, s."""


def discovered() -> Iterator[str]:
    """Serial ports of this machine, then daemons of the registry that answer."""
    from serial.tools import list_ports

    yield styled("Serial ports", bold=True)
    ports = sorted(list_ports.comports(include_links=False), key=lambda port: port.device)
    real = [port for port in ports if port.hwid != "n/a"] or ports
    for port in real:
        yield f"   {port.device}  {port.description or 'unknown device'}"
        for name in _links(port.device):
            yield f"      lasting name: {name}"
        if port.vid is not None:
            serial = f', ATTRS{{serial}}=="{port.serial_number}"' if port.serial_number else ""
            link = "relays" if port.vid == NUMATO else "chiller"
            device = f'ATTRS{{idVendor}}=="{port.vid:04x}", ATTRS{{idProduct}}=="{port.pid:04x}"{serial}'
            yield f'      udev rule: SUBSYSTEM=="tty", {device}, SYMLINK+="{link}", MODE="0660", GROUP="rockit"'
        if not os.access(port.device, os.R_OK | os.W_OK):
            yield "      you may not open it; see its group and mode"
        if (holder := holder_of(port.device)) is not None:
            yield f"      in use by {holder}"
    if not real:
        yield "   none"
    yield ""
    yield from _sensors(ROOT)
    yield styled("Daemons that answer", bold=True)
    up = [row for row in survey(1.0) if row["state"] in ("up", "device offline")]
    for row in up:
        yield f"   {row['name']} at {row['address']}: {row['state']}"
    if not up:
        yield "   none of the registry's"
    yield ""
    yield "`rockit discover --probe PORT` asks the device at a port who it is."


def _sensors(root: Path) -> Iterator[str]:
    """The 1-wire thermometers of this machine with what they say; nothing where there is no 1-wire."""
    if not root.is_dir():
        return
    yield styled("1-wire thermometers", bold=True)
    names = sorted(path.name for path in root.glob("28-*"))
    for name in names:
        try:
            yield f"   {name}  {ds18b20.parse(read_w1(root, name)):.2f} °C"
        except (ProtocolError, LineError, InputProblem) as error:
            yield f"   {name}  {error}"
    if not names:
        yield "   none"
    yield ""


def _links(device: str) -> list[str]:
    found = []
    for folder in ("/dev/serial/by-id", "/dev/serial/by-path"):
        for link in sorted(Path(folder).glob("*")):
            if os.path.realpath(link) == os.path.realpath(device):
                found.append(str(link))
    return found


def probed(port: str, only: str | None) -> Iterator[str]:
    """Ask `port` with each driver's own identification, which changes nothing at a device of that family.

    Raises click's exceptions: for an unknown driver, a port that cannot be opened, and when nobody answers.
    """
    if only is not None and only not in drivers.DRIVERS:
        raise click.UsageError(f"there is no driver {only!r}; known are {', '.join(sorted(drivers.DRIVERS))}")
    if port.startswith("sim://"):
        simulators.register_all()
    for name in [only] if only else list(drivers.DRIVERS):
        family = drivers.load(name)
        settings = family.line_settings.overridden(timeout=PROBE_TIMEOUT, interval=family.line_settings.interval or 0.1)
        line: Line[Any] = Line(port, settings, family.decoder, threading.Event(), lambda _text: None)
        try:
            line.open()
        except PortLost as error:
            raise click.ClickException(str(error)) from None
        try:
            identity = _identity(family(line))
        except (LineError, ProtocolError) as error:
            yield f"{name}: no ({error})"
        else:
            yield styled(f"{name}: yes, {', '.join(f'{key} {value}' for key, value in identity.items())}", bold=True)
            yield f'   "serial_port": "{port}", "driver": "{name}", "serial_baud": {settings.baud}'
            return
        finally:
            line.close()
    raise click.ClickException(f"no known chiller answered at {port}; are its power, cable and baud right?")


def _identity(driver: drivers.ChillerDriver) -> dict[str, str]:
    """Asked twice: half a command may be left in the device from the driver before, and spoils the first answer."""
    try:
        return driver.identify()
    except (LineError, ProtocolError):
        return driver.identify()
