# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import random
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rockit.common.state import KEPT, StateFile

ROOT = Path(__file__).resolve().parents[1]


class Valve(msgspec.Struct):
    name: str
    opened: int
    hours: float = 0.0
    pattern: list[int] = []


class Undemanding(msgspec.Struct):
    mode: int = 0


class NewerValve(Valve):
    torque: float = 1.5


def strays(folder: Path) -> list[str]:
    """Files that nobody would expect beside `state.json`."""
    return sorted(path.name for path in folder.iterdir() if path.name != "state.json")


def child(program: str, *arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PRELUDE + program, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        **options,
    )


PRELUDE = """
import os, signal, sys
import msgspec
from rockit.common.state import StateFile

class Valve(msgspec.Struct):
    name: str
    opened: int
    hours: float = 0.0
    pattern: list[int] = []

def whole(number):
    return Valve(f"valve {number}", number, pattern=[number] * (1 + number * 7919 % 20000))
"""


def is_whole(valve: Valve) -> bool:
    number = valve.opened
    return valve.name == f"valve {number}" and valve.pattern == [number] * (1 + number * 7919 % 20000)


def test_what_was_saved_is_loaded_by_the_next_process(tmp_path: Path) -> None:
    file = StateFile(tmp_path / "state.json", Valve)
    assert file.load() is None
    assert file.problem is None, "a first start is no problem"
    assert file.save(Valve("summer", 3, 0.1 + 0.2))
    assert StateFile(str(tmp_path / "state.json"), Valve).load() == Valve("summer", 3, 0.1 + 0.2)
    assert strays(tmp_path) == []


def test_the_mode_is_0640_whatever_the_umask(tmp_path: Path) -> None:
    for umask in (0o000, 0o077):
        before = os.umask(umask)
        try:
            StateFile(tmp_path / f"{umask}.json", Valve).save(Valve("summer", 3))
        finally:
            os.umask(before)
        assert stat.S_IMODE((tmp_path / f"{umask}.json").stat().st_mode) == 0o640


def test_the_same_content_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    file = StateFile(path, Valve)
    file.save(Valve("summer", 3))
    inode = path.stat().st_ino
    assert not file.save(Valve("summer", 3))
    assert not StateFile(path, Valve).save(Valve("summer", 3))
    assert path.stat().st_ino == inode
    assert file.save(Valve("summer", 4))
    path.unlink()
    assert file.save(Valve("summer", 4)), "a file that somebody removed is written again"
    assert file.load() == Valve("summer", 4)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 4096,  # what some file systems leave of a file after a power cut
        b'{"name": "summer", "ope',
        b'{"name": "summer", "opened": "three"}',
        b'{"name": "summer"}',
        b'{"name": "\xff\xfe", "opened": 3}',
        b"[" * 100_000,
        b'{"name": "summer", "opened": 3}{}',
    ],
    ids=["empty", "zeros", "half", "type", "missing", "not utf-8", "deep", "two"],
)
def test_a_file_that_makes_no_sense_is_kept_and_reported(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(content)
    file = StateFile(path, Valve)
    assert file.load() is None
    (aside,) = strays(tmp_path)
    assert re.fullmatch(r"state\.json\.corrupt-\d{8}T\d{6}Z", aside)
    assert (tmp_path / aside).read_bytes() == content
    assert not path.exists()
    assert file.problem is not None
    assert str(path) in file.problem
    assert aside in file.problem
    assert "\n" not in file.problem
    file.save(Valve("summer", 1))
    assert file.load() == Valve("summer", 1)
    assert file.problem is None


@settings(deadline=None, max_examples=50)
@given(content=st.binary(max_size=200))
def test_no_content_stops_a_start(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("state") / "state.json"
    path.write_bytes(content)
    file = StateFile(path, Valve)
    assert file.load() is None
    assert file.problem
    assert not path.exists()


def test_no_corrupt_file_is_overwritten_by_the_next(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    file = StateFile(path, Valve)
    for number in range(5):
        path.write_text(f"broken {number}")
        assert file.load() is None
    assert {(tmp_path / name).read_text() for name in strays(tmp_path)} == {f"broken {n}" for n in range(5)}


@pytest.mark.parametrize("content", ["{}", '{"season": 1, "boiler": true}'])
def test_a_file_of_something_else_is_kept_and_reported(tmp_path: Path, content: str) -> None:
    path = tmp_path / "valve.json"
    path.write_text(content)
    state = StateFile(path, Undemanding)
    assert state.load() is None
    assert "none of its keys is ours" in str(state.problem)
    (aside,) = tmp_path.glob("valve.json.corrupt-*")
    assert aside.read_text() == content


def test_files_that_were_set_aside_do_not_fill_the_disk(tmp_path: Path) -> None:
    for _ in range(KEPT + 5):
        (tmp_path / "state.json").write_bytes(b"{")
        assert StateFile(tmp_path / "state.json", Valve).load() is None
    assert len(strays(tmp_path)) <= KEPT + 1


def test_a_file_of_a_newer_version_loads(tmp_path: Path) -> None:
    StateFile(tmp_path / "state.json", NewerValve).save(NewerValve("summer", 3, torque=2.0))
    file = StateFile(tmp_path / "state.json", Valve)
    assert file.load() == Valve("summer", 3)
    assert file.problem is None
    assert strays(tmp_path) == []


@pytest.mark.parametrize("hours", [float("nan"), float("inf")])
def test_a_value_that_would_not_load_again_is_refused(tmp_path: Path, hours: float) -> None:
    file = StateFile(tmp_path / "state.json", Valve)
    file.save(Valve("summer", 3))
    with pytest.raises(ValueError, match="would not load again"):
        file.save(Valve("summer", 4, hours))
    assert file.load() == Valve("summer", 3)


def test_a_folder_that_is_not_there_is_an_error_and_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        StateFile(tmp_path / "gone" / "state.json", Valve).save(Valve("summer", 3))
    assert strays(tmp_path) == []


def test_the_content_is_on_disk_before_the_name_and_the_name_before_the_return(tmp_path: Path) -> None:
    """Power loss cannot be had in a test; the order of the calls that guard against it can."""
    calls: list[str] = []

    def note(_frame: object, event: str, function: Any) -> None:
        if event == "c_call" and getattr(function, "__name__", "") in ("write", "fsync", "replace", "rename"):
            calls.append(function.__name__)

    file = StateFile(tmp_path / "state.json", Valve)
    before = sys.getprofile()
    sys.setprofile(note)
    try:
        file.save(Valve("summer", 3))
    finally:
        sys.setprofile(before)
    assert calls == ["write", "fsync", "replace", "fsync"]


SAVE_TOO_MUCH = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    StateFile(sys.argv[1], Valve).save(Valve("summer", 4, pattern=list(range(100000))))
except OSError as error:
    print(type(error).__name__, error.errno)
"""

FILL_THE_DISK = """
file = StateFile(sys.argv[1] + "/state.json", Valve)
file.save(Valve("summer", 3))
try:
    file.save(Valve("summer", 4, pattern=list(range(100000))))
except OSError as error:
    print(error.strerror, os.listdir(sys.argv[1]), file.load().opened)
"""


def test_a_write_that_breaks_off_in_the_middle_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    file = StateFile(tmp_path / "state.json", Valve)
    file.save(Valve("summer", 3))
    result = child(SAVE_TOO_MUCH, file.path)
    assert result.stdout.startswith("OSError"), result.stdout + result.stderr
    assert file.load() == Valve("summer", 3)
    assert strays(tmp_path) == []


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    mount = f'mount -t tmpfs -o size=128k none "{tmp_path}" && exec "$@"'
    program = [sys.executable, "-c", PRELUDE + FILL_THE_DISK, str(tmp_path)]
    try:
        allowed = subprocess.run(["unshare", "-rm", "sh", "-c", mount, "sh", "true"], capture_output=True, timeout=60)
    except FileNotFoundError:
        pytest.skip("no unshare here, so no small disk to fill")
    if allowed.returncode:
        pytest.skip("this system lets nobody mount a small disk to fill")
    command = ["unshare", "-rm", "sh", "-c", mount, "sh", *program]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert result.stdout.strip() == "No space left on device ['state.json'] 3", result.stderr


WITHOUT_RIGHTS = """
os.chdir(sys.argv[1])  # root first, as nobody may pass through the folders above
if os.geteuid() == 0:
    os.setgroups([])
    os.setegid(65534)
    os.seteuid(65534)
file = StateFile("state.json", Valve)
for action in (file.load, lambda: file.save(Valve("summer", 4))):
    try:
        print(action())
    except OSError as error:
        print(type(error).__name__)
"""


def test_without_permission_the_old_file_stays_and_the_error_says_so(tmp_path: Path) -> None:
    file = StateFile(tmp_path / "state.json", Valve)
    file.save(Valve("summer", 3))
    file.path.chmod(0)
    tmp_path.chmod(0o555)
    try:
        result = child(WITHOUT_RIGHTS, tmp_path)
    finally:
        tmp_path.chmod(0o755)
        file.path.chmod(0o640)
    assert result.stdout.split() == ["PermissionError", "PermissionError"], result.stderr
    assert file.load() == Valve("summer", 3)
    assert strays(tmp_path) == []


KILL_AT = """
left = int(sys.argv[2])

def count(_frame, event, _function):
    global left
    if event in ("c_call", "c_return"):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

file = StateFile(sys.argv[1], Valve)
value = whole(2)
sys.setprofile(count)
file.save(value)
sys.setprofile(None)
print(left)
"""


def test_a_kill_between_any_two_calls_leaves_the_old_or_the_new_file_whole(tmp_path: Path) -> None:
    file = StateFile(tmp_path / "state.json", Valve)
    survived = child(KILL_AT, file.path, 1_000_000)
    moments = 1_000_000 - int(survived.stdout)
    assert moments > 20
    seen = set()
    for moment in range(1, moments + 1, 2 if moments > 60 else 1):
        file.save(Valve("valve 1", 1, pattern=[1] * 7920))
        result = child(KILL_AT, file.path, moment)
        assert result.returncode == -signal.SIGKILL, result.stderr
        valve = file.load()
        assert valve is not None, file.problem
        assert is_whole(valve)
        assert len(strays(tmp_path)) <= 1, "kills must not fill the folder"
        seen.add(valve.opened)
    assert seen == {1, 2}, "no kill came before, or none after the change"
    file.save(Valve("valve 1", 1))
    file.save(Valve("valve 2", 2))
    assert strays(tmp_path) == []


SAVE_FOR_EVER = """
file = StateFile(sys.argv[1], Valve)
before = file.load()
number = before.opened if before else 0
while True:
    number += 1
    file.save(whole(number))
    print(number, flush=True)
"""


def test_kill_9_in_the_middle_of_saving_never_leaves_half_a_file(tmp_path: Path) -> None:
    chance = random.Random(20260301)
    file = StateFile(tmp_path / "state.json", Valve)
    last = 0
    for _ in range(24):
        command = [sys.executable, "-c", PRELUDE + SAVE_FOR_EVER, str(file.path)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for _ in range(chance.randrange(1, 12)):
                last = int(process.stdout.readline())
            for _ in range(chance.randrange(20_000)):  # so that the kill does not always find the same moment
                pass
            process.kill()
            last = max([last, *map(int, re.findall(r"(\d+)\n", process.stdout.read()))])
        valve = file.load()
        assert valve is not None, file.problem
        assert is_whole(valve)
        assert valve.opened in (last, last + 1), "what was saved before the kill is there"
        assert set(strays(tmp_path)) <= {".state.json.new"}
