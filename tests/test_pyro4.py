# SPDX-License-Identifier: GPL-3.0-or-later
"""Neighbours on Pyro 4: rockit's own power and log daemons, as another process with the library that they use."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from conftest import Site, wait_for

from rockit.common import daemonconfig, registry
from rockit.common.errors import CommandError, Unreachable
from rockit.common.remote import pyro4

NEIGHBOUR = '''
import datetime, sys, Pyro4

class Neighbour:
    """As powerd and obslogd, in as far as they are asked."""
    channels = {"cmos": 0, "swir": 0}
    lines = []

    @Pyro4.expose
    def last_measurement(self):
        return {"date": datetime.datetime.utcnow().strftime("%Y-%m-%dT%H:%M:%SZ"), **self.channels}

    @Pyro4.expose
    def switch(self, name, state):
        self.channels[name] = int(state)
        return 0

    @Pyro4.expose
    def set_refused(self):
        return 3

    @Pyro4.expose
    def fails(self):
        raise ValueError("no such socket")

    @Pyro4.expose
    def log_info(self, source, message):
        self.lines.append([source, message])

    log_warning = log_error = log_info

    @Pyro4.expose
    def said(self):
        return self.lines

with Pyro4.Daemon(host="127.0.0.1", port=int(sys.argv[1])) as daemon:
    for name in sys.argv[2:]:
        daemon.register(Neighbour(), name)
    print("serving", flush=True)
    daemon.requestLoop()
'''
POWER, LOG = "localhost_test2", "observatory_log"


@pytest.fixture
def observatory(site: Site) -> Site:
    content = json.loads(site.registry.read_text())
    content["daemons"][POWER]["pyro"] = 4
    content["daemons"][LOG] = {**content["daemons"].pop("localhost_test3"), "pyro": 4}
    site.write_registry(content)
    for name in (POWER, LOG):
        entry = content["daemons"][name]
        process = site.start(name, "-c", NEIGHBOUR, str(entry["port"]), entry["object_id"])
        wait_for(lambda process=process: "serving" in process.lines(), "the neighbour")
    return site


@pytest.fixture
def asked(observatory: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setenv("ROCKIT_DAEMONS_PATH", str(observatory.registry))
    return observatory


def test_a_chiller_cools_for_a_camera_that_a_pyro_4_daemon_switched_on(asked: Site) -> None:
    asked.simulator("--set", "ambient=18")
    asked.write_config(power_daemon=POWER, power_channels=["cmos", "swir"], antifreeze_enable_limit=None,
                       antifreeze_disable_limit=None)  # fmt: skip
    asked.chillerd()
    wait_for(lambda: asked.status().get("channels_enabled") == [], "the channels")
    assert asked.info()["running"] is False
    with registry.find(POWER).connect() as power:
        assert power.switch("swir", 1) == 0
    wait_for(lambda: asked.info()["running"], "the start")
    assert asked.status()["channels_enabled"] == ["swir"]
    with registry.find(LOG).connect() as log:
        said = wait_for(log.said, "lines in the observatory's log")
        assert any("Established connection" in message for _, message in said)


def test_its_errors_are_told_apart(asked: Site) -> None:
    with registry.find(POWER).connect() as power:
        with pytest.raises(CommandError, match="fails: no such socket") as caught:
            power.fails()
        assert not isinstance(caught.value, Unreachable)
        assert power.set_refused() == 3
        assert "not accepted" in power.message
        asked.processes[0].popen.kill()
        asked.processes[0].wait()
        with pytest.raises(Unreachable, match="cannot reach localhost_test2"):
            power.last_measurement()
    with pytest.raises(Unreachable, match="nothing listens there"), registry.find(POWER).connect() as power:
        power.last_measurement()


def test_the_registry_must_say_which_pyro(asked: Site) -> None:
    content = json.loads(asked.registry.read_text())
    del content["daemons"][POWER]["pyro"]
    content["daemons"]["localhost_test"]["pyro"] = 4
    asked.write_registry(content)
    asked.simulator()
    asked.write_config()
    asked.chillerd()
    for name, other in ((POWER, 4), ("localhost_test", 5)):
        with (
            pytest.raises(Unreachable, match=f'put "pyro": {other} into its registry entry'),
            registry.find(name).connect() as client,
        ):
            client.report_status()


def test_rockit_lists_and_calls_it(asked: Site) -> None:
    line = next(line for line in asked.rockit("list").stdout.splitlines() if line.startswith(f"{POWER} "))
    assert "other" in line
    assert "no attribute 'report_status'" in line
    called = asked.rockit("call", POWER, "last_measurement")
    assert (called.returncode, called.stderr) == (0, "")
    assert "cmos" in called.stdout


def test_without_the_library_it_says_what_to_install(asked: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "Pyro4", None)
    with pytest.raises(Unreachable, match=r"rockit-plant\[pyro4\]"):
        pyro4.LegacyClient(registry.find(POWER), 1.0)
    monkeypatch.setattr(daemonconfig, "find_spec", lambda _name: None)
    assert [path for path, _ in daemonconfig.unknown_daemon("power_daemon", POWER)] == ["power_daemon"]


def test_the_sites_registry_knows_its_neighbours() -> None:
    path = Path(__file__).parent.parent / "config/clasp/daemons.json"
    daemons = json.loads(path.read_text())["daemons"]
    assert [name for name, entry in daemons.items() if entry.get("pyro") == 4] == ["clasp_power", "clasp_domealert"]
