# SPDX-License-Identifier: GPL-3.0-or-later
"""The tool `rockit`: list, top, call, check, simulate, fault, discover."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import ROOT, Site, wait_for
from imitations import Power, serving

from rockit.boiler.simulators.onewire import Folder
from rockit.common.errors import CommandError
from rockit.tool import discover

VERBS = ("list", "top", "call", "check", "simulate", "fault", "discover", "completion")


@pytest.fixture(scope="module")
def observatory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One daemon with its chiller, one whose chiller is not there, one of another package, one that does not run."""
    made = Site(tmp_path_factory.mktemp("observatory"))
    content = json.loads(made.registry.read_text())
    content["daemons"]["localhost_test2"]["kind"] = "chiller"
    made.write_registry(content)
    second = made.write_config(
        daemon="localhost_test2", serial_port="/dev/no-such-port", state_directory=str(made.folder / "state2")
    )
    second = second.rename(made.folder / "second.json")
    made.start("second", str(ROOT / "chillerd"), str(second))
    made.write_config(query_delay=0.3)
    made.simulator()
    made.chillerd()
    wait_for(lambda: "offline" in alarms(made, "localhost_test2"), "the second daemon")
    with serving(made, "localhost_test3", Power(cmos=1)):
        yield made
    for process in reversed(made.processes):
        process.stop()


def alarms(site: Site, name: str) -> list[str]:
    """The active alarms of a daemon; none while it cannot be reached."""
    try:
        with site.client(name) as client:
            status: dict[str, Any] = client.report_status()
    except CommandError:
        return []
    return list(status["alarms"])


def succeeded(site: Site, *arguments: str) -> str:
    done = site.rockit(*arguments)
    assert (done.returncode, done.stderr) == (0, ""), (done.returncode, done.stdout, done.stderr)
    return done.stdout


def failed(site: Site, code: int, *arguments: str) -> str:
    done = site.rockit(*arguments)
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(observatory: Site, verb: str) -> None:
    assert succeeded(observatory, verb, "--help").startswith(f"Usage: rockit {verb}")


# --- list and top


def test_list_tells_up_offline_other_and_down_apart(observatory: Site) -> None:
    lines = succeeded(observatory, "list").splitlines()
    assert lines[0].split() == ["DAEMON", "ADDRESS", "STATE", "AGE", "ALARMS"]
    rows = {line.split()[0]: line for line in lines[1:]}
    assert list(rows) == list(observatory.ports), "every daemon of the registry, in its order"
    assert f"127.0.0.1:{observatory.ports['localhost_test']}" in rows["localhost_test"]
    assert " up " in rows["localhost_test"]
    assert rows["localhost_test"].endswith(" none")
    assert " device offline " in rows["localhost_test2"]
    assert rows["localhost_test2"].endswith(" offline"), "its alarm"
    assert " other " in rows["localhost_test3"]
    assert " down " in rows["localhost_test4"]
    assert "nothing listens there" in rows["localhost_test4"]
    assert "\x1b" not in "".join(lines)


def test_list_as_json(observatory: Site) -> None:
    printed = succeeded(observatory, "list", "--json")
    assert printed.count("\n") == 1
    found = {row["name"]: row for row in json.loads(printed)}
    assert {name: row["state"] for name, row in found.items()} == {
        "localhost_test": "up", "localhost_test2": "device offline", "localhost_test3": "other",
        "localhost_test4": "down",
    }  # fmt: skip
    assert found["localhost_test"]["reading_age"] >= 0
    assert found["localhost_test"]["alarms"] == []
    assert found["localhost_test2"]["alarms"] == ["offline"]
    assert "reading_age" not in found["localhost_test2"], "there never was a reading"


def test_a_silent_daemon_does_not_hold_up_the_list(observatory: Site) -> None:
    """Something that takes connections and says nothing costs one time-out and is down."""
    with socket.socket() as hole:
        hole.bind(("127.0.0.1", observatory.ports["localhost_test4"]))
        hole.listen()
        rows = {row["name"]: row for row in json.loads(succeeded(observatory, "list", "--json", "--timeout", "0.5"))}
    assert rows["localhost_test4"]["state"] == "down"
    assert "no answer within 0.5 s" in rows["localhost_test4"]["why"]
    assert rows["localhost_test"]["state"] == "up"


def test_top_repeats_the_list(observatory: Site) -> None:
    printed = succeeded(observatory, "top", "--count", "2", "--interval", "0.5")
    assert printed.count("DAEMON ") == 2
    assert printed.count("localhost_test4") == 2
    assert "\x1b" not in printed


def test_list_says_what_is_wrong_with_the_registry(site: Site) -> None:
    site.registry.write_text('{"machines": {}, "daemons": {"a": {"object_id": "a", "machine": "Nowhere", "port": 0}}}')
    told = failed(site, 78, "list")
    assert str(site.registry) in told
    assert "daemons.a.port" in told


# --- call


def test_call_without_a_method_prints_signatures_and_docstrings(observatory: Site) -> None:
    printed = succeeded(observatory, "call", "localhost_test")
    for text in (
        "report_status() -> dict[str, Any]  [read]", "set_enabled(enabled: bool) -> int  [operate]",
        "shelve(name: str, seconds: float, comment: str = '') -> int  [operate]", "The chiller now.",
    ):  # fmt: skip
        assert text in printed, text


def test_call_reads(observatory: Site) -> None:
    printed = succeeded(observatory, "call", "localhost_test", "report_status")
    assert printed.count("\n") == 1
    assert json.loads(printed)["connected"] is True


def test_call_prints_nan_as_null(observatory: Site) -> None:
    measured = json.loads(succeeded(observatory, "call", "localhost_test2", "last_measurement"))
    assert measured["water_temp"] is None
    assert measured["water_temp_valid"] is False


def test_call_operates_with_the_code_of_the_command(observatory: Site) -> None:
    assert "the mode is automatic" in failed(observatory, 10, "call", "localhost_test", "set_enabled", "true")
    assert succeeded(observatory, "call", "localhost_test", "set_mode", "1") == "the mode is automatic\n"
    assert "outside the limits" in failed(observatory, 11, "call", "localhost_test", "set_setpoint", "-5")
    assert "nothing was changed" in failed(observatory, 12, "call", "localhost_test2", "set_setpoint", "12.5")
    assert "cannot reach localhost_test4" in failed(observatory, 155, "call", "localhost_test4", "report_status")


def test_call_of_a_method_that_is_not_there(observatory: Site) -> None:
    told = failed(observatory, 64, "call", "localhost_test", "set_temperature", "5")
    assert "no method 'set_temperature'" in told
    assert "set_setpoint" in told
    failed(observatory, 64, "call", "localhost_test", "_unit")
    assert "set_mode" in failed(observatory, 1, "call", "localhost_test", "set_mode"), "an argument is missing"


def test_call_of_a_daemon_that_is_not_in_the_registry(observatory: Site) -> None:
    told = failed(observatory, 78, "call", "localhost_tset", "report_status")
    assert "did you mean" in told
    assert "localhost_test" in told


def test_call_of_a_daemon_of_another_package(observatory: Site) -> None:
    assert succeeded(observatory, "call", "localhost_test3", "value", "cmos") == "1\n"
    assert "does not describe itself" in failed(observatory, 1, "call", "localhost_test3")
    assert "no_such" in failed(observatory, 1, "call", "localhost_test3", "no_such")


@pytest.mark.parametrize(
    ("argument", "told"),
    [("99", "not 99"), ('"1"', "not '1'"), ("one", "not 'one'"), ("true", "not True"), ("True", "not True"),
     ("null", "not None"), ("None", "not None"), ("[1]", "not [1]"), ("2.5", "not 2.5"), ("-1", "not -1"),
     ("__import__('os').getpid()", "not \"__import__('os').getpid()\"")],
)  # fmt: skip
def test_arguments_are_read_as_json_or_text_and_never_evaluated(observatory: Site, argument: str, told: str) -> None:
    assert told in failed(observatory, 11, "call", "localhost_test", "set_mode", argument)


# --- check


def test_check_of_several_files_tells_all_errors(observatory: Site) -> None:
    bad = observatory.folder / "bad.json"
    bad.write_text(
        '{"daemon": "localhost_test", "log_name": "x", "serial_port": "/dev/x", "query_delay": -1, "colour": 3}'
    )
    broken = observatory.folder / "broken.json"
    broken.write_text('{"daemon": ')
    good = str(observatory.config)
    done = observatory.rockit("check", str(bad), good, str(broken), str(observatory.registry), "/no/such.json")
    assert done.returncode == 78
    assert done.stdout.splitlines() == [f"{good}: valid chillerd config", f"{observatory.registry}: valid registry"]
    for text in (
        "query_delay: ",
        "colour: unknown key",
        f"{broken}: not valid JSON",
        "/no/such.json: there is no such file",
    ):
        assert text in done.stderr, text


def test_check_of_good_files_is_0(observatory: Site) -> None:
    succeeded(observatory, "check", str(observatory.config))
    for path in (ROOT / "config").glob("*/chiller.json"):
        done = observatory.rockit("check", str(path), ROCKIT_DAEMONS_PATH=str(ROOT / "config/daemons.json"))
        assert (done.returncode, done.stderr) == (0, "")


def test_check_as_another_kind(observatory: Site) -> None:
    assert "daemons: required" in failed(observatory, 78, "check", "--kind", "registry", str(observatory.config))


def test_chillerd_check_agrees(site: Site) -> None:
    site.write_config(query_delay=-1, colour=3)
    done = site.run(str(ROOT / "chillerd"), "--check", str(site.config))
    assert done.returncode == 78
    assert "2 problems" in done.stderr


# --- simulate and fault


def test_simulate_makes_a_port_that_a_daemon_can_open_and_leaves_nothing(site: Site) -> None:
    simulator = site.simulator("--set", "ambient=4", "--fault", "low_flow:0.1")
    assert f"simulating t257p at {site.link}; Ctrl-C ends it" in simulator.lines()
    assert os.path.realpath(site.link).startswith("/dev/pts/")
    assert site.info()["ambient"] == 4.0
    site.chillerd()
    simulator.signal()
    assert simulator.wait() == 0
    assert not os.path.lexists(site.link)
    assert list(site.folder.glob("chiller.control*")) == []


def test_faults_are_listed_and_switched(site: Site) -> None:
    site.simulator()
    link = str(site.link)
    shown = succeeded(site, "fault", link)
    assert "silence " in shown
    assert "low_flow " in shown
    assert "unplug " in shown
    assert "[" not in shown.replace("[b]", ""), "none is on"
    assert succeeded(site, "fault", link, "silence") == ""
    assert succeeded(site, "fault", link, "low_flow", "0.2") == ""
    lines = {line.split()[0]: line for line in succeeded(site, "fault", link).splitlines()}
    assert lines["silence"].endswith("[on]")
    assert lines["low_flow"].endswith("[0.2]")
    assert not lines["checksum"].endswith("]")
    assert succeeded(site, "fault", link, "silence", "off") == ""
    told = failed(site, 64, "fault", link, "meltdown")
    assert "no fault 'meltdown'" in told
    assert "silence" in told


def test_simulate_says_what_is_wrong(site: Site) -> None:
    link = str(site.link)
    assert "no option 'colour'" in failed(site, 64, "simulate", "chiller", "--link", link, "--set", "colour=blue")
    assert "there is no chiller 't1000' to simulate" in failed(
        site, 64, "simulate", "chiller", "--link", link, "--model", "t1000"
    )
    assert "no fault 'meltdown'" in failed(site, 64, "simulate", "chiller", "--link", link, "--fault", "meltdown")
    failed(site, 64, "simulate", "kettle", "--link", link)
    site.link.write_text("precious")
    assert "exists and is not a link" in failed(site, 1, "simulate", "chiller", "--link", link)
    assert site.link.read_text() == "precious"
    assert "no simulator answers at" in failed(site, 1, "fault", str(site.folder / "nothing"))


def test_two_simulators_cannot_share_a_link(site: Site) -> None:
    site.simulator()
    assert "another simulator serves" in failed(site, 1, "simulate", "chiller", "--link", str(site.link))


# --- discover


def test_discover_lists_ports_and_daemons(observatory: Site) -> None:
    printed = succeeded(observatory, "discover")
    assert printed.startswith("Serial ports\n   ")
    answering = printed.partition("Daemons that answer\n")[2]
    assert f"localhost_test at 127.0.0.1:{observatory.ports['localhost_test']}: up" in answering
    assert "localhost_test2" in answering
    assert "device offline" in answering
    assert "localhost_test4" not in answering


def test_discover_reads_the_thermometers(tmp_path: Path) -> None:
    folder = Folder(tmp_path, {"28-000000000001": lambda: 21.3, "28-000000000002": lambda: 1.0})
    folder.sensors["28-000000000002"].fault = "open"
    folder.refresh()
    lines = list(discover._sensors(tmp_path))
    assert "   28-000000000001  21.31 °C" in lines
    assert any(line.startswith("   28-000000000002  the checksum was wrong") for line in lines)


def test_discover_probe_finds_the_family(site: Site) -> None:
    site.simulator()
    printed = succeeded(site, "discover", "--probe", str(site.link), "--driver", "thermotek-t257p")
    assert "thermotek-t257p: yes, family ThermoTek TTK" in printed
    assert f'"serial_port": "{site.link}", "driver": "thermotek-t257p", "serial_baud": 9600' in printed
    info = site.info()
    assert (info["run_writes"], info["setpoint_writes"]) == (0, 0), "asking changed nothing"


def test_discover_probe_says_no_to_the_wrong_family(site: Site) -> None:
    site.simulator("--model", "lauda")
    done = site.rockit("discover", "--probe", str(site.link), "--driver", "thermotek-t257p")
    assert done.returncode == 1
    assert done.stdout.startswith("thermotek-t257p: no (")
    assert "no known chiller answered" in done.stderr


def test_discover_probe_of_what_cannot_be_asked(site: Site) -> None:
    nothing = str(Path(site.folder) / "nothing")
    done = site.rockit("discover", "--probe", nothing)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{nothing} does not exist" in done.stderr
    assert "no driver 'kettle'" in failed(site, 64, "discover", "--probe", nothing, "--driver", "kettle")


def test_discover_probe_does_not_disturb_a_daemon_that_has_the_port(site: Site) -> None:
    site.simulator()
    site.chillerd()
    done = site.rockit("discover", "--probe", str(site.link))
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{site.link} is in use by " in done.stderr
    with site.client() as chiller:
        found = chiller.counters()
        assert (found["foreign"], found["garbage"], found["polls_failed"]) == (0, 0, 0)


# --- completion


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script(observatory: Site, shell: str) -> None:
    assert f"_ROCKIT_COMPLETE={shell}_complete" in succeeded(observatory, "completion", shell)
