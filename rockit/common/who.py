# SPDX-License-Identifier: GPL-3.0-or-later
"""Who holds a port or a device: read from /proc, so that an error can name the process and not only say "busy"."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterator
from pathlib import Path

_PROC = Path("/proc")


def process_name(pid: int) -> str:
    """`chillerd (pid 123)`, or `pid 123` where /proc does not tell."""
    try:
        words = (_PROC / str(pid) / "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return f"pid {pid}"
    names = [" ".join(os.path.basename(word).split())[:40] for word in words if word and not word.startswith("-")]
    if len(names) > 1 and names[0].startswith("python"):
        names = names[1:]
    return f"{names[0]} (pid {pid})" if names else f"pid {pid}"


def _descriptors() -> Iterator[tuple[int, str]]:
    """(pid, target) of every open descriptor that we may see."""
    for process in _PROC.glob("[0-9]*"):
        try:
            for link in (process / "fd").iterdir():
                try:
                    yield int(process.name), os.readlink(link)
                except OSError:
                    continue
        except OSError:
            continue


def plain_address(text: str) -> str:
    """An IP address as it is compared: `::ffff:10.2.6.181` is 10.2.6.181, IPv6 in its shortest form, no interface."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return text
    return str(getattr(address, "ipv4_mapped", None) or address)


def listener_of(port: int) -> str | None:
    """The process that listens on a TCP port of this machine, if it can be seen."""
    inodes = set()
    for table in ("net/tcp", "net/tcp6"):
        try:
            lines = (_PROC / table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    for pid, target in _descriptors():
        if target in inodes:
            return process_name(pid)
    return None


def holder_of(device: str) -> str | None:
    """Another process that has locked a device file, else one that has it open, if it can be seen."""
    real = os.path.realpath(device)
    locker = _locker_of(real)
    if locker is not None and locker != os.getpid():
        return process_name(locker)
    for pid, target in _descriptors():
        if target == real and pid != os.getpid():
            return process_name(pid)
    return None


def _locker_of(path: str) -> int | None:
    """Who holds the flock(2) of a file, by /proc/locks; of several that have it open, only one can."""
    try:
        status = os.stat(path)
        lines = (_PROC / "locks").read_text().splitlines()
    except OSError:
        return None
    file = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    for line in lines:
        fields = line.split()
        if len(fields) >= 6 and fields[1] == "FLOCK" and fields[5] == file and fields[4].isdigit():
            return int(fields[4])
    return None
