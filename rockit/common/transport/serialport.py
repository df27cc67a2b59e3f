# SPDX-License-Identifier: GPL-3.0-or-later
"""Opens a serial port: a device path, or a pyserial URL (`socket://`, `rfc2217://`, `spy://`, our `sim://`)."""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import serial

from rockit.common.transport import PortLost
from rockit.common.transport.settings import LineSettings
from rockit.common.who import holder_of

_HANDLERS = "rockit.common.transport"
TICK = 0.1
"""How long one read waits, s: the most that a stop has to wait for a reader."""
_PTY_MAJORS = range(136, 144)  # Documentation/admin-guide/devices.txt of Linux: Unix98 pty slaves


def open_port(where: str, settings: LineSettings, note: Callable[[str], None]) -> Any:
    """An open pyserial port with bounded writes, and reads that wait for `TICK` at most.

    Its time-out is never changed again: over RFC 2217 each change would be negotiated anew.
    `note` is told of settings that the port cannot take. Raises PortLost with a sentence that says what to do.
    """
    if _HANDLERS not in serial.protocol_handler_packages:
        serial.protocol_handler_packages.append(_HANDLERS)
    settings = _for_pty(where.removeprefix("spy://").partition("?")[0], settings, note)
    try:
        port = serial.serial_for_url(where, do_not_open=True)
        port.baudrate = settings.baud
        port.bytesize = settings.bytesize
        port.parity = settings.parity
        port.stopbits = settings.stopbits
        port.xonxoff = settings.xonxoff
        port.timeout = TICK
        # RFC 2217 knows no time-out of writes; its bytes go into a socket's buffer.
        port.write_timeout = None if where.startswith("rfc2217://") else settings.timeout
        if isinstance(port, serial.Serial):  # a tty, and not a socket or a simulation
            port.exclusive = True
        port.open()
        if isinstance(port, serial.Serial) and settings.xonxoff:
            port.xonxoff = False  # an XOFF that came long ago (or as noise) would stop us for ever on a pty
            port.xonxoff = True
    except Exception as error:  # noqa: BLE001 - the handlers of URLs raise what they like
        raise PortLost(_open_problem(where, error)) from None
    return port


def close_port(port: Any) -> None:
    """Close a port that `open_port` gave. Raises what pyserial raises for a port that is gone already."""
    peer = getattr(port, "_socket", None)  # which pyserial leaves open when the other end has reset the connection
    try:
        port.close()
    finally:
        if peer is not None:
            with suppress(OSError):
                peer.close()


def _for_pty(where: str, settings: LineSettings, note: Callable[[str], None]) -> LineSettings:
    """A Linux pty takes 8 bits without parity only: it answers EINVAL to anything else from the second open on."""
    try:
        status = os.stat(where)
    except OSError:
        return settings
    if not stat.S_ISCHR(status.st_mode) or os.major(status.st_rdev) not in _PTY_MAJORS:
        return settings
    if (settings.bytesize, settings.parity) == (8, "N"):
        return settings
    note(f"{where} is a pseudo terminal, which takes 8 bits without parity only; going on with 8N1")
    return settings.overridden(bytesize=8, parity="N", stopbits=1)


def _open_problem(where: str, error: Exception) -> str:
    number = getattr(error, "errno", None)
    if "://" in where:
        return f"cannot open {where}: {error or type(error).__name__}"
    if number == errno.ENOENT or not os.path.exists(where):
        return f"{where} does not exist; is the cable plugged in, and does the udev rule name it?"
    if number in (errno.EACCES, errno.EPERM):
        return f"no permission to open {where}: {_permission(where)}"
    if number in (errno.EAGAIN, errno.EWOULDBLOCK, errno.EBUSY) or "exclusively lock" in str(error):
        holder = holder_of(where)
        return f"{where} is in use by {holder or 'another process'}; stop it, or name another serial_port"
    if number == errno.ENOTTY or isinstance(error, ValueError) or "configure port" in str(error):
        return f"{where} cannot be set up as a serial port: {error}"
    return f"cannot open {where}: {error}"


def lost_problem(where: str, error: Exception) -> str:
    """The sentence for a port that broke while it was in use."""
    if "write timeout" in str(error).lower():
        return f"{where} takes no bytes (flow control stopped it, or the device hangs)"
    if "://" in where:
        return f"the connection to {where} broke: {error}"
    if not os.path.exists(where):
        return f"{where} has gone; the cable was pulled, or the adaptor lost its power"
    if "multiple access" in str(error) and (holder := holder_of(where)) is not None:
        return f"{where} is read by {holder} as well; only one process may use it"
    return f"{where} hung up: {error}"


def _permission(where: str) -> str:
    """Who may open the device, and what that means for us."""
    status = os.stat(where)
    try:
        group = grp.getgrgid(status.st_gid).gr_name
    except KeyError:
        group = str(status.st_gid)
    try:
        user = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        user = str(os.geteuid())
    mode = stat.S_IMODE(status.st_mode)
    return f"it belongs to group {group}, mode {mode:04o}; add user {user} to that group, or correct the udev rule"
