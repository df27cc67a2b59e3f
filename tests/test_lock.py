# SPDX-License-Identifier: GPL-3.0-or-later
"""One instance: who holds the lock is named, and the kernel gives it back however the holder ended."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from harness import ROOT

from rockit.common.errors import StartError
from rockit.common.lock import InstanceLock
from rockit.common.who import holder_of, process_name

HOLDER = """
import sys
from pathlib import Path
from rockit.common.lock import InstanceLock
lock = InstanceLock(Path(sys.argv[1]), "localhost_test")
print("held", flush=True)
sys.stdin.read()
"""


def hold(path: Path, tmp_path: Path) -> subprocess.Popen[str]:
    script = tmp_path / "chillerd"
    script.write_text(HOLDER)
    process = subprocess.Popen(
        [sys.executable, str(script), str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_instance_names_the_first_and_kill_9_gives_the_lock_back(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with hold(path, tmp_path) as process:
        for _ in range(2):
            with pytest.raises(StartError) as caught:
                InstanceLock(path, "localhost_test")
            assert f"localhost_test is already running: chillerd (pid {process.pid}) holds {path}" in str(caught.value)
            assert "stop that one first" in str(caught.value)
        assert holder_of(str(path)) == f"chillerd (pid {process.pid})"
        process.kill()
        process.wait(30)
    lock = InstanceLock(path, "localhost_test")
    assert path.read_text() == f"{os.getpid()}\n"
    with pytest.raises(StartError, match=rf"\(pid {os.getpid()}\) holds"):
        InstanceLock(path, "localhost_test")
    lock.release()
    InstanceLock(path, "localhost_test").release()


def test_a_lock_file_left_by_a_process_that_is_gone_does_not_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_text("1\n")
    lock = InstanceLock(path, "localhost_test")
    assert path.read_text() == f"{os.getpid()}\n"
    lock.release()


def test_the_lock_is_not_inherited_by_programs_that_the_holder_starts(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    lock = InstanceLock(path, "localhost_test")
    with subprocess.Popen(["sleep", "60"], close_fds=False) as child:
        lock.release()
        InstanceLock(path, "localhost_test").release()
        child.kill()


def test_a_damaged_lock_file_still_locks(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    lock = InstanceLock(path, "localhost_test")
    path.write_bytes(b"\xff\xfe not a pid")
    with pytest.raises(StartError, match="already running: another process holds"):
        InstanceLock(path, "localhost_test")
    lock.release()


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    path = tmp_path / "none" / "lock"
    with pytest.raises(
        StartError, match=f"cannot make the lock file {path}: No such file or directory; correct the owner"
    ):
        InstanceLock(path, "localhost_test")


def test_a_process_that_is_gone_is_named_by_its_number() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait(30)
    assert process_name(process.pid) == f"pid {process.pid}"
