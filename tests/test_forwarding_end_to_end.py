# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole way: a chiller, its daemon, a PostgreSQL server and a receiver, each as a process of its own."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

import trustme
from conftest import Process, Site, wait_for
from harness import ROOT, free_ports

from rockit.history.answer import QuestionError, answer
from rockit.history.database import Database, StoreError
from rockit.history.query import Reader
from rockit.history.store import wall_clock

DAEMON = "localhost_test"
TOKEN = "clasp-0123456789abcdef"


class Receiver:
    """`rockit history receive`, with a token and a certificate."""

    def __init__(self, site: Site) -> None:
        self.site = site
        folder = site.folder
        authority = trustme.CA()
        authority.cert_pem.write_to_path(folder / "ca.pem")
        authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(folder / "both.pem")
        for name, line in (("tokens", f"{TOKEN} clasp"), ("token", TOKEN)):
            (folder / name).write_text(line + "\n")
            (folder / name).chmod(0o600)
        self.url = f"sqlite:///{folder}/central.sqlite"
        [self.port] = free_ports(1)

    @property
    def forward(self) -> dict[str, str]:
        """What a config says of it."""
        url = f"https://localhost:{self.port}/batch"
        return {"url": url, "token_file": f"{self.site.folder}/token", "ca_file": f"{self.site.folder}/ca.pem"}

    def start(self) -> Process:
        process = self.site.start(
            "receiver", str(ROOT / "bin/rockit"), "history", "receive", self.url,
            "--listen", f"127.0.0.1:{self.port}", "--certificate", f"{self.site.folder}/both.pem",
            "--token-file", f"{self.site.folder}/tokens",
        )  # fmt: skip
        before = len(process.lines())
        wait_for(lambda: len(process.lines()) > before, "the receiver")
        return process


def asked(url: str, keys: list[str], start: float, end: float, points: int | None) -> dict[str, Any]:
    """What a central store answers to the question that its daemon was asked; empty while it cannot."""
    database = Database(url)
    try:
        with Reader(database).view() as view:
            return comparable(answer(view, "clasp", DAEMON, keys, start, end, points, wall_clock()))
    except (StoreError, QuestionError):
        return {}
    finally:
        database.close()


def comparable(found: dict[str, Any]) -> dict[str, Any]:
    """Without what is newest now, whatever the range."""
    for series in found["series"].values():
        series.pop("latest", None)
    return found


def polls(site: Site, more: int) -> None:
    with site.client() as client:
        wanted = client.counters()["polls"] + more
        wait_for(lambda: client.counters()["polls"] >= wanted, f"{more} polls")


def agreed(site: Site, urls: list[str], start: float) -> dict[str, Any]:
    """Wait until the daemon and all central stores say the same of the time from `start` to now; what they say."""
    end = time.time()
    polls(site, 2)  # a poll is written when it is over, and what it asked for first is older by then
    with site.client() as client:
        keys = [*client.history(None, start, end)["series"], "events"]
        for points in (None, 7):
            theirs = comparable(client.history(keys, start, end, points))
            for url in urls:
                wait_for(partial(same, theirs, url, keys, start, end, points), f"the same from {url}")
        return comparable(client.history(keys, start, end))


def same(theirs: dict[str, Any], url: str, *question: Any) -> bool:
    return asked(url, *question) == theirs


def test_what_a_daemon_recorded_is_what_the_central_stores_answer(site: Site, postgresql: str) -> None:
    start = time.time() - 1
    receiver = Receiver(site)
    first = receiver.start()
    urls = [postgresql, receiver.url]
    site.write_config(query_delay=0.2, history={"site": "clasp", "forward": [{"url": postgresql}, receiver.forward]})
    site.simulator("--set", "ambient=18")
    daemon = site.chillerd()
    assert site.chiller("mode", "manual").returncode == 0
    polls(site, 10)
    found = agreed(site, urls, start)
    assert set(found["series"]) >= {"water_temp", "setpoint_temp", "flow"}
    assert len(found["series"]["water_temp"]["time"]) >= 10
    assert [event["name"] for event in found["events"] if event["kind"] == "command"] == ["set_mode"]

    first.popen.kill()
    first.wait()
    polls(site, 5)
    with site.client() as client:
        wait_for(lambda: client.counters()["history_forward_failures"], "a failure")
    receiver.start()
    polls(site, 5)
    before = len(agreed(site, urls, start)["series"]["water_temp"]["time"])
    assert before >= 20

    daemon.popen.kill()
    daemon.wait()
    site.chillerd()
    polls(site, 3)
    found = agreed(site, urls, start)
    assert len(found["series"]["water_temp"]["time"]) >= before + 3
    assert [event["name"] for event in found["events"] if event["kind"] == "daemon"] == ["started", "started"]

    lines = daemon.lines()  # of both of its lives
    told = [line for line in lines if "history:" in line]
    assert sum("cannot forward" in line for line in told) == 1, told
    assert sum("goes on after" in line for line in told) == 1, told
    assert TOKEN not in "".join(lines)


def test_the_check_of_a_config_judges_its_targets(site: Site, tmp_path: Path) -> None:
    config = site.write_config(history={"site": "clasp", "forward": [{"url": "https://central/batch"}]})
    checked = site.run(str(ROOT / "chillerd"), "--check", str(config))
    assert checked.returncode == 78
    assert "history.forward[0].url" in checked.stdout + checked.stderr
    assert "token_file" in checked.stdout + checked.stderr
