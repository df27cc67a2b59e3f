# SPDX-License-Identifier: GPL-3.0-or-later
"""What docs/forwarding.md says can be done can be done."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import trustme
from conftest import Site
from harness import ROOT
from outboxes import Local, Watched, at_once, count_at, forwarding, local, watched

from rockit.history.model import BUCKET, DAY, Event
from rockit.history.store import wall_clock

__all__ = ["local", "watched"]
PAGE = (ROOT / "docs" / "forwarding.md").read_text()
CONFIGS: list[dict[str, Any]] = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]
COMMANDS = [shlex.split(line) for line in PAGE.splitlines() if line.startswith("    rockit history")]


@pytest.mark.parametrize("config", CONFIGS)
def test_its_configs_are_accepted(site: Site, config: dict[str, Any]) -> None:
    path = site.write_config(**config)
    path.write_text(path.read_text().replace("/etc/rockit", str(site.folder)))
    trustme.CA().cert_pem.write_to_path(site.folder / "ca.pem")
    for token in ("clasp.token", "mqtt.token"):
        (site.folder / token).write_text("secret")
        (site.folder / token).chmod(0o640)
    checked = site.run(str(ROOT / "chillerd"), "--check", str(path))
    assert (checked.returncode, checked.stderr) == (0, "")


def test_its_commands_have_these_options(site: Site) -> None:
    assert [command[2] for command in COMMANDS] == ["receive", "import"]
    for _, group, verb, *words in COMMANDS:
        shown = site.rockit(group, verb, "--help").stdout
        for word in words:
            if word.startswith("--"):
                assert word in shown


def test_what_is_older_than_a_target_is_brought_there(
    site: Site, tmp_path: Path, local: Local, watched: Watched, postgresql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the daemon records and forwards; and by way of a copy."""
    at_once(monkeypatch)
    first = wall_clock() - 3 * DAY
    local.polls(first, 500, BUCKET // 3)
    local.poll(first, {}, [Event(first, "state", "mode", "AUTOMATIC")])
    with local.outgoing() as outbox:
        outbox.confirm(watched.name, local.newest())  # as if it had not been in the config
    with forwarding(local, watched) as running:
        local.polls(wall_clock() - 1000, 5, 10)
        running.caught_up()
        assert count_at(postgresql) == 15
        done = site.rockit("history", "import", str(tmp_path / "local.sqlite"), "--into", postgresql)
        assert (done.returncode, done.stderr) == (0, "")
        local.polls(wall_clock(), 5, 10)
        running.caught_up()
    local.arrived_at(postgresql)

    copy = tmp_path / "copy.sqlite"
    done = site.rockit("history", "import", str(tmp_path / "local.sqlite"), "--into", str(copy), "--create")
    assert (done.returncode, done.stderr) == (0, "")
    local.arrived_at(f"sqlite:///{copy}")
    done = site.rockit("history", "import", str(copy), "--into", postgresql)
    assert (done.returncode, done.stderr) == (0, "")
    local.arrived_at(postgresql)
