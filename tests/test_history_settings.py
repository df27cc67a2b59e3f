# SPDX-License-Identifier: GPL-3.0-or-later
"""What `--check` says of the history's files and URLs, and that a daemon controls whatever it says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trustme
from harness import ROOT, Site, wait_for

from rockit.chiller.config import ChillerConfig
from rockit.common import config
from rockit.common.errors import ConfigError

NOBODY = 65534
BASE = {"daemon": "clasp_chiller", "log_name": "chillerd@clasp", "serial_port": "/dev/chiller"}


def parsed(history: dict[str, Any]) -> ChillerConfig:
    return config.parse(json.dumps({**BASE, "history": history}), ChillerConfig, "test.json")


def findings(**history: Any) -> dict[str, str]:
    """Of a config that a daemon starts with."""
    found = list(parsed(history).findings())
    assert len(dict(found)) == len(found)
    return dict(found)


def forward(folder: Path, **keys: str) -> dict[str, str]:
    return findings(forward=[{"url": "https://central:8443/batch", "token_file": str(token(folder)), **keys}])


def token(folder: Path, mode: int = 0o640) -> Path:
    path = folder / "token"
    path.write_text("secret\n")
    path.chmod(mode)
    return path


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(path)
    return path


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql+psycopg://rockit@db:99999/rockit", "99999 is no port; say a number from 1 to 65535"),
        ("postgresql+psycopg://rockit@db:0/rockit", "0 is no port"),
        ("postgresql+psycopg://rockit@db", "names no database; say postgresql+psycopg://user@host/database"),
        ("postgresql+psycopg://rockit@db/", "names no database"),
        ("postgresql+psycopg://rockit:secret@db.example.org/rockit", "postgresql+psycopg://rockit"),
    ],
)
def test_words_that_cannot_be_right_are_problems(url: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parsed({"url": url})
    [problem] = caught.value.problems
    assert problem.startswith(f"history.url: {said}")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg:///rockit",
        "postgresql+psycopg://db:65535/rockit?sslmode=disable",
        "postgresql+psycopg://db?dbname=rockit&sslmode=disable",
        "postgresql+psycopg:///?service=rockit",
        "sqlite:////nowhere/history.sqlite",
    ],
)
def test_words_that_can_be_right_are_none(url: str) -> None:
    assert parsed({"url": url})


def test_what_the_way_to_a_server_must_be(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        parsed({"url": "postgresql+psycopg://rockit:secret@db.example.org/rockit"})
    [problem] = caught.value.problems
    assert "says no sslmode; write ?sslmode=verify-full&sslrootcert=" in problem
    assert "secret" not in problem


@pytest.mark.parametrize("other", ["localhost", "127.0.0.1:5432", "127.0.0.1"])
def test_a_history_is_no_second_copy_of_itself(other: str) -> None:
    ours = "postgresql+psycopg://rockit@127.0.0.1/rockit"
    with pytest.raises(ConfigError, match=r"history.forward\[0\].url: is this history itself"):
        parsed({"url": ours, "forward": [{"url": f"postgresql+psycopg://else@{other}/rockit"}]})
    assert parsed({"url": ours, "forward": [{"url": "postgresql+psycopg://rockit@127.0.0.1/other"}]})


def test_a_site_is_a_name_without_a_slash() -> None:
    with pytest.raises(ConfigError, match=r"history\.site: must be a name"):
        parsed({"site": "a/b"})


def test_a_folder_is_no_file_and_must_be_there(tmp_path: Path) -> None:
    assert findings(url=f"sqlite:///{tmp_path}/history.sqlite") == {}
    assert findings(url="postgresql+psycopg://db/rockit?sslmode=disable") == {}
    told = f"{tmp_path} is a folder; name a file in it: sqlite:///{tmp_path}/history.sqlite"
    assert findings(url=f"sqlite:///{tmp_path}") == {"history.url": told}
    missing = findings(url=f"sqlite:///{tmp_path}/disk/history.sqlite")
    assert f"finds no folder {tmp_path}/disk; make it, or mount what it lies on" in missing["history.url"]
    (tmp_path / "disk").write_text("a file")
    assert "history.url" in findings(url=f"sqlite:///{tmp_path}/disk/history.sqlite")


def test_files_of_targets_must_be_there_and_be_safe(tmp_path: Path, authority: Path) -> None:
    assert forward(tmp_path, ca_file=str(authority)) == {}
    missing = forward(tmp_path, token_file=f"{tmp_path}/none", ca_file=f"{tmp_path}/none.pem")
    assert set(missing) == {"history.forward[0].token_file", "history.forward[0].ca_file"}
    assert missing["history.forward[0].token_file"].startswith(f"{tmp_path}/none cannot be read by user id ")
    assert "No such file or directory; write the token into it" in missing["history.forward[0].token_file"]
    assert "No such file or directory; it must be a PEM file" in missing["history.forward[0].ca_file"]
    authority.write_text("no certificate")
    assert "holds no certificate" in forward(tmp_path, ca_file=str(authority))["history.forward[0].ca_file"]
    open_to_all = token(tmp_path, 0o644)
    found = findings(forward=[{"url": "https://central:8443/batch", "token_file": str(open_to_all)}])
    assert found["history.forward[0].token_file"].endswith(
        f"is open to everybody on this machine: chmod 640 {open_to_all}"
    )


def test_a_file_that_only_others_may_read(tmp_path: Path) -> None:
    path = token(tmp_path, 0o200)
    if os.geteuid() != 0:
        assert "Permission denied" in forward(tmp_path, token_file=str(path))["history.forward[0].token_file"]
        return
    program = (
        f"import os, sys; sys.path[:0] = [{str(ROOT)!r}]\n"
        "from rockit.history.targets.credentials import read_token\n"
        "from rockit.history.settings import history_findings\n"
        "from rockit.common.daemonconfig import Forward, HistoryConfig\n"
        f"os.chdir({str(tmp_path)!r}); os.setuid({NOBODY})\n"
        "print(*history_findings(HistoryConfig(site='a', forward=[Forward(url='https://b', token_file='token')])))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert f"cannot be read by user id {NOBODY}: Permission denied" in done.stdout, done.stderr


def test_check_tells_and_the_daemon_controls(site: Site) -> None:
    """A disk that is not mounted yet, and a token that nobody has brought."""
    disk = site.folder / "disk"
    history = {
        "url": f"sqlite:///{disk}/history.sqlite",
        "forward": [{"url": "https://127.0.0.1:1/batch", "token_file": f"{site.folder}/token"}],
    }
    path = site.write_config(query_delay=0.1, history=history)
    checked = site.run(str(ROOT / "chillerd"), "--check", str(path))
    assert (checked.returncode, checked.stdout) == (78, "")
    assert "2 problems" in checked.stderr
    assert "  history.url: user id " in checked.stderr
    assert f"  history.forward[0].token_file: {site.folder}/token cannot be read" in checked.stderr
    site.simulator()
    site.chillerd()
    wait_for(lambda: site.status()["status"], "a reading")
    disk.mkdir()
    wait_for(lambda: (disk / "history.sqlite").exists(), "the history, when its disk is there")
    token(site.folder)
    assert site.run(str(ROOT / "chillerd"), "--check", str(path)).returncode == 0


def test_a_config_without_url_and_files_imports_nothing_for_them() -> None:
    heavy = {"sqlalchemy", "ssl", "rockit.history.database", "rockit.history.targets.credentials"}
    program = (
        "import json, sys\n"
        "from rockit.chiller.config import ChillerConfig\n"
        "from rockit.common import config\n"
        "for history in ({'site': 'a'}, {'forward': [{'url': 'influx+http://127.0.0.1:1/write'}]}):\n"
        f"    text = json.dumps({{**{BASE!r}, 'history': history}})\n"
        "    assert not list(config.parse(text, ChillerConfig, 'x').findings())\n"
        f"print(sorted({heavy!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("[]\n", "")
