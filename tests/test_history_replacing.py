# SPDX-License-Identifier: GPL-3.0-or-later
"""Exported files are whole or not there."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import ROOT

from rockit.common.errors import CommandError
from rockit.history.export import replacing


def write_and_end(path: Path, end: Callable[[], object], *, overwrite: bool) -> None:
    with replacing(path, overwrite=overwrite) as stream:
        stream.write(b"half")
        end()


def strays(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "out.csv")


def test_a_file_is_replaced_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_text("old")
    for end, error in ((lambda: 1 / 0, ZeroDivisionError), (sys.exit, SystemExit)):
        with pytest.raises(error):
            write_and_end(path, end, overwrite=True)
        assert path.read_text() == "old"
        assert strays(tmp_path) == []
    with replacing(path, overwrite=True) as stream:
        stream.write(b"new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert strays(tmp_path) == []


def test_a_new_file_is_not_there_before_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    with pytest.raises(ZeroDivisionError):
        write_and_end(path, lambda: 1 / 0, overwrite=False)
    assert list(tmp_path.iterdir()) == []
    before = os.umask(0o027)
    try:
        with replacing(path, overwrite=False) as stream:
            stream.write(b"new")
            assert not path.exists()
    finally:
        os.umask(before)
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640, "as for any new file"
    assert strays(tmp_path) == []


def test_an_existing_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_text("old")
    with pytest.raises(CommandError, match="exists; --overwrite replaces it"), replacing(path, overwrite=False):
        pytest.fail("nothing is fetched")
    path.unlink()
    with pytest.raises(CommandError, match="exists"):
        write_and_end(path, lambda: path.write_text("somebody else's, of just now"), overwrite=False)
    assert path.read_text() == "somebody else's, of just now"
    assert strays(tmp_path) == []


@pytest.mark.parametrize("overwrite", [True, False])
def test_what_is_no_file_is_not_replaced(tmp_path: Path, overwrite: bool) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "fifo", Path("/dev/null")):
        with pytest.raises(CommandError, match="-o -"), replacing(path, overwrite=overwrite):
            pytest.fail("nothing is fetched")
    with (
        pytest.raises(CommandError, match="cannot be written: there is no folder"),
        replacing(tmp_path / "none" / "x.csv", overwrite=overwrite),
    ):
        pytest.fail("nothing is fetched")


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.write_text("old")
    link = tmp_path / "out.csv"
    link.symlink_to(real)
    with replacing(link, overwrite=True) as stream:
        stream.write(b"new")
    assert link.is_symlink()
    assert real.read_text() == "new"


def test_a_full_disk_is_a_sentence() -> None:
    full = Path("/dev/shm") / f"rockit-test-{os.getpid()}"
    script = (
        "import resource, signal, sys\nfrom pathlib import Path\nfrom rockit.history.export import replacing\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nresource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "with replacing(Path(sys.argv[1]), overwrite=True) as stream:\n    stream.write(bytes(5000))\n"
    )
    run = [sys.executable, "-c", script, str(full)]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert "cannot be written: File too large" in done.stderr
    assert not full.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_signals_leave_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    path = tmp_path / "out.csv"
    path.write_text("old")
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom rockit.history.export import replacing\n"
        "with replacing(Path(sys.argv[1]), overwrite=True) as stream:\n"
        "    stream.write(b'half')\n    stream.flush()\n    print('writing', flush=True)\n    time.sleep(60)\n"
    )
    run = [sys.executable, "-c", script, str(path)]
    with subprocess.Popen(run, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        assert len(strays(tmp_path)) == 1
        process.send_signal(number)
        assert process.wait(30) in (128 + number, -number)
    assert path.read_text() == "old"
    assert strays(tmp_path) == []
