# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line `chiller`: verbs, exit codes, output for programs and for people, completion, start-up."""

from __future__ import annotations

import json
import os
import pty
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from harness import ROOT, Site, wait_for
from imitations import DomeAlert, serving

from rockit.chiller.cli import group
from rockit.common.status import age_text, json_line, plain

VERBS = {
    "status", "json", "watch", "alarms", "acknowledge", "shelve", "describe", "counters", "completion", "mode",
    "enable", "disable", "setpoint", "faults", "history", "export",
}  # fmt: skip


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A chiller in automatic mode and standby; tests leave it so."""
    made = Site(tmp_path_factory.mktemp("plant"))
    made.write_config(query_delay=0.3, minimum_off_time=3600)
    made.simulator("--set", "ambient=18")
    made.chillerd()
    yield made
    for process in reversed(made.processes):
        process.stop()


def on_a_terminal(site: Site, *arguments: str, **environment: str) -> tuple[int, str]:
    """Run `chiller …` on a pseudo terminal: exit code, and all that it printed."""
    master, slave = pty.openpty()
    given = {**site.environment, "TERM": "xterm", **environment}
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "chiller"), *arguments], env=given, stdin=slave, stdout=slave, stderr=slave
    )
    os.close(slave)
    printed = b""
    try:
        while data := os.read(master, 65536):
            printed += data
    except OSError:
        pass  # how Linux tells that the last process at the other end has gone
    os.close(master)
    return process.wait(30), printed.decode()


# --- verbs and help


def test_all_promised_verbs_are_there() -> None:
    assert set(group.list_commands(click.Context(group))) == VERBS


@pytest.mark.parametrize("verb", ["", *sorted(VERBS)])
def test_help_needs_no_config_and_no_daemon(verb: str, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "CHILLERD_CONFIG_PATH": str(tmp_path / "none"),
        "ROCKIT_DAEMONS_PATH": str(tmp_path / "none"),
    }
    words = [verb, "--help"] if verb else ["--help"]
    run = [sys.executable, str(ROOT / "chiller"), *words]
    shown = subprocess.run(run, env=environment, capture_output=True, text=True, timeout=60)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.startswith(f"Usage: chiller {verb}".rstrip())
    command = group.get_command(click.Context(group), verb) if verb else group
    assert command is not None
    assert str(command.help).split(".")[0].split()[0] in shown.stdout


def test_the_exit_codes_stand_in_the_help() -> None:
    with click.Context(group, info_name="chiller") as context:
        text = " ".join(context.get_help().split())
    for code in ("3 ", "10 ", "11 ", "12 ", "13 ", "14 ", "64 ", "78 ", "155 "):
        assert code in text


# --- exit codes, each for real


def failed(site: Site, code: int, *arguments: str, **environment: str) -> str:
    """Run `chiller …`, which must exit with `code` and print nothing but a sentence on standard error: that one."""
    done = site.chiller(*arguments, **environment)
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.stderr


def test_code_0(plant: Site) -> None:
    done = plant.chiller("mode", "auto")
    assert (done.returncode, done.stdout, done.stderr) == (0, "the mode is automatic\n", "")


def test_code_1_for_an_alarm_that_is_not_there(plant: Site) -> None:
    assert "error: there is no alarm 'nonsense'" in failed(plant, 1, "acknowledge", "nonsense")


def test_code_3_from_a_machine_that_may_not(site: Site) -> None:
    site.write_config(control_machines=["Elsewhere"])
    site.chillerd(wait=False)
    wait_for(site.status, "the daemon")
    for words in (["mode", "manual"], ["enable"], ["disable"], ["setpoint", "12"], ["acknowledge", "offline"]):
        assert "error: 127.0.0.1 is not one of the control machines" in failed(site, 3, *words)
    assert site.chiller("status").returncode == 0, "looking is open to all"


def test_code_10_in_automatic_mode(plant: Site) -> None:
    assert "error: the mode is automatic" in failed(plant, 10, "enable")
    assert "error: the mode is automatic" in failed(plant, 10, "disable")


@pytest.mark.parametrize("celsius", ["99", "-5", "-5.5", "nan", "4.99"])
def test_code_11_out_of_range_and_a_negative_set_point_is_no_option(plant: Site, celsius: str) -> None:
    told = failed(plant, 11, "setpoint", celsius)
    assert "error: " in told
    assert "set point must be a number" in told if celsius == "nan" else "outside the limits" in told


def test_code_12_with_the_device_offline(plant: Site) -> None:
    plant.fault("unplug on")
    wait_for(lambda: plant.status()["connected"] is False, "offline")
    told = failed(plant, 12, "setpoint", "12")
    faults = failed(plant, 12, "faults")
    plant.fault("unplug off")
    wait_for(lambda: plant.status()["connected"], "the chiller")
    assert "nothing was changed" in told
    assert "error: the chiller is offline: " in faults


def test_code_13_when_the_device_refuses(plant: Site) -> None:
    plant.fault("refuse on")
    told = failed(plant, 13, "setpoint", "15")
    plant.fault("refuse off")
    assert plant.chiller("setpoint", "20").returncode == 0
    assert "error: " in told


def test_code_14_held_by_a_protection(site: Site) -> None:
    site.write_config(query_delay=0.3, minimum_on_time=3600)
    site.simulator()
    site.chillerd()
    assert site.chiller("mode", "manual").returncode == 0
    assert site.chiller("enable").returncode == 0
    assert "minimum on time" in failed(site, 14, "disable")
    assert site.info()["running"] is True


@pytest.mark.parametrize(
    "words",
    [["polish"], ["mode"], ["mode", "later"], ["setpoint"], ["setpoint", "warm"], ["--colour"],
     ["watch", "--count", "0"], ["shelve", "offline"]],
)  # fmt: skip
def test_code_64_for_what_was_not_understood(plant: Site, words: list[str]) -> None:
    assert "Usage: chiller" in failed(plant, 64, *words)


def test_alone_it_prints_its_help_and_64(plant: Site) -> None:
    told = failed(plant, 64)
    assert "Usage: chiller" in told
    for verb in VERBS:
        assert f"\n  {verb} " in told


def test_code_155_without_a_daemon(site: Site) -> None:
    for words in (
        ["status"],
        ["json"],
        ["alarms"],
        ["describe"],
        ["counters"],
        ["faults"],
        ["mode", "auto"],
        ["setpoint", "12"],
    ):
        told = failed(site, 155, *words)
        assert (
            f"error: cannot reach localhost_test at 127.0.0.1:{site.ports['localhost_test']}: nothing listens there"
            in told
        )


def test_another_kind_of_daemon_is_told_from_a_dead_one(site: Site) -> None:
    with serving(site, "localhost_test", DomeAlert(12.0)):
        assert "report_status" in failed(site, 1, "status")


# --- finding the config


def config_folder(site: Site, *names: str) -> Path:
    folder = Path(site.environment["CHILLERD_CONFIG_ROOT"])
    folder.mkdir(exist_ok=True)
    for path in folder.glob("*.json"):
        path.unlink()
    for name in names:
        (folder / f"{name}.json").write_text(site.config.read_text())
    return folder


def test_config_by_name_by_file_by_environment_and_as_the_only_one(plant: Site) -> None:
    variable = plant.environment.pop("CHILLERD_CONFIG_PATH")
    try:
        config_folder(plant, "clasp")
        assert plant.chiller("json").returncode == 0, "the only one"
        config_folder(plant, "clasp", "goto")
        assert plant.chiller("-c", "clasp", "json").returncode == 0
        assert plant.chiller("--config", variable, "json").returncode == 0
        assert plant.chiller("json", CHILLERD_CONFIG_PATH=variable).returncode == 0
        told = failed(plant, 78, "json")
        assert "several configs" in told
        assert "clasp, goto" in told
        told = failed(plant, 78, "-c", "classp", "json")
        assert "clasp, goto" in told
        folder = config_folder(plant)
        told = failed(plant, 78, "status")
        assert f"{folder}: no config there" in told
        assert "CHILLERD_CONFIG_PATH" in told
    finally:
        plant.environment["CHILLERD_CONFIG_PATH"] = variable


def test_the_environment_counts_more_than_c_and_says_so(plant: Site) -> None:
    done = plant.chiller("-c", "other.json", "json")
    assert done.returncode == 0
    assert "CHILLERD_CONFIG_PATH is set and counts more than -c other.json" in done.stderr
    assert json.loads(done.stdout)["connected"] is True


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "not valid JSON at line 1"),
        ("[]", "must hold one JSON object"),
        ('{"log_name": "x"}', "daemon: required"),
        ('{"daemon": "localhost_tset"}', "did you mean localhost_test"),
        ('{"daemon": 7}', "daemon: "),
    ],
)
def test_code_78_for_a_bad_config(site: Site, text: str, told: str) -> None:
    site.config.write_text(text)
    assert told in failed(site, 78, "status")


def test_a_config_that_is_being_edited_locks_nobody_out(plant: Site) -> None:
    whole = plant.config.read_text()
    try:
        for typing in ('"query_delya": 7, ', '"query_delay": 7, "query_delay": "x", "serial_port": 3, '):
            plant.config.write_text("{" + typing + whole[1:])
            assert plant.chiller("json").returncode == 0
    finally:
        plant.config.write_text(whole)


def test_code_78_for_a_missing_registry(site: Site) -> None:
    assert "there is no such file" in failed(site, 78, "status", ROCKIT_DAEMONS_PATH=str(site.folder / "none.json"))


# --- output for programs


@pytest.mark.parametrize("environment", [{}, {"COLUMNS": "40"}, {"FORCE_COLOR": "1"}, {"PYTHONIOENCODING": "ascii"}])
def test_json_is_one_valid_line(plant: Site, environment: dict[str, str]) -> None:
    done = plant.chiller("json", **environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1
    assert done.stdout.endswith("}\n")
    status = json.loads(done.stdout, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert status["connected"] is True
    assert len(done.stdout) > 200, "longer than any terminal is wide"


def test_json_is_the_same_on_a_terminal(plant: Site) -> None:
    code, printed = on_a_terminal(plant, "json", COLUMNS="40")
    assert code == 0
    assert printed.count("\n") == 1
    assert json.loads(printed)["connected"] is True


@pytest.mark.parametrize(
    ("value", "text"),
    [(float("nan"), "null"), ([float("inf"), -float("inf"), 1.5], "[null, null, 1.5]"),
     ({"a": {"b": float("nan")}}, '{"a": {"b": null}}'),
     ("[b]x[/b]", '"[b]x[/b]"'), ("a\nb", '"a\\nb"'), ((1, True, None), "[1, true, null]"), ({1: 2}, '{"1": 2}'),
     (Path("/dev/chiller"), '"/dev/chiller"'), ({"°C"}, '["\\u00b0C"]')],
)  # fmt: skip
def test_json_line_is_valid_whatever_it_is_given(value: Any, text: str) -> None:
    assert json_line(value) == text
    assert json.loads(text) == plain(value) or value == {1: 2}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7199, "120 min"),
        (7200, "2.0 h"),
        (172800, "2 days"),
        (8640000, "100 days"),
    ],
)
def test_ages_can_be_read(seconds: float, text: str) -> None:
    assert age_text(seconds) == text


# --- colour and layout


@pytest.mark.parametrize("verb", ["status", "describe", "alarms", "counters"])
def test_no_escape_codes_in_a_pipe(plant: Site, verb: str) -> None:
    done = plant.chiller(verb, FORCE_COLOR="1", TERM="xterm")
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    assert done.stdout


def test_colour_on_a_terminal_and_none_with_no_color(plant: Site) -> None:
    code, printed = on_a_terminal(plant, "status")
    assert code == 0
    assert "\x1b[" in printed
    for environment in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        code, bare = on_a_terminal(plant, "status", **environment)
        assert code == 0
        assert "\x1b" not in bare
        assert "Chiller is IDLE" in bare
    assert "\x1b[" in on_a_terminal(plant, "status", NO_COLOR="")[1], "empty is as if it were not set (no-color.org)"


def test_status_keeps_the_lines_of_the_original(plant: Site) -> None:
    lines = plant.chiller("status").stdout.splitlines()
    assert lines[0].startswith("Data received 20")
    for start in (
        "   Chiller is IDLE",
        "   Mode is AUTOMATIC",
        "   Temperature is ",
        "   Set point is ",
        "   TEC power is ",
    ):
        assert len([line for line in lines if line.startswith(start)]) == 1, start
    assert [line for line in lines if line.startswith("   Readings are ")]


def test_describe_tells_measurements_with_units_and_methods_with_signatures(plant: Site) -> None:
    shown = plant.chiller("describe").stdout
    for text in (
        "kind: chiller", "driver: thermotek-t257p", "setpoint_temp [degC]", "limits 5.0 to 45.0", "s old",
        "set_setpoint(celsius: float) -> int  [operate]", "report_status() -> dict[str, Any]  [read]",
    ):  # fmt: skip
        assert text in shown, text


def test_counters_are_aligned_numbers(plant: Site) -> None:
    lines = plant.chiller("counters").stdout.splitlines()
    found = {name: int(number) for name, number in (line.split() for line in lines)}
    assert found["answers"] > 0
    assert "checksum" in found


# --- watch


def test_watch_in_a_pipe_prints_one_status_after_the_other(plant: Site) -> None:
    done = plant.chiller("watch", "--count", "2", "--interval", "0.1", FORCE_COLOR="1", TERM="xterm")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("Data received") == 2
    assert "\x1b" not in done.stdout


def test_watch_on_a_terminal_redraws_in_place(plant: Site) -> None:
    code, printed = on_a_terminal(plant, "watch", "--count", "3", "--interval", "0.1")
    assert code == 0
    assert printed.count("Chiller is") >= 3
    assert "\x1b[1A" in printed, "the cursor goes up again"
    assert printed.rstrip().endswith("\x1b[?25h"), "and is visible in the end"


def test_watch_waits_for_a_daemon_that_is_away(site: Site) -> None:
    done = site.chiller("watch", "--count", "2", "--interval", "0.1")
    assert done.returncode == 0
    assert done.stdout.count("error: cannot reach localhost_test") == 2


def test_ctrl_c_ends_watch_without_a_traceback(plant: Site) -> None:
    process = plant.start("watch", str(ROOT / "chiller"), "watch", "--interval", "0.1")
    wait_for(lambda: [line for line in process.lines() if "Data received" in line], "the first look")
    process.signal(signal.SIGINT)
    assert process.wait() == 130
    assert not [line for line in process.lines() if "Traceback" in line or "Abort" in line]


# --- alarms


def test_alarms_are_listed_acknowledged_and_shelved(plant: Site) -> None:
    assert plant.chiller("alarms").stdout == "No alarms.\n"
    plant.fault("unplug on")
    wait_for(lambda: "offline" in plant.status()["alarms"], "the alarm")
    shown = plant.chiller("alarms").stdout
    assert shown.startswith("offline  critical, active since 20")
    assert "the chiller does not answer" in shown
    done = plant.chiller("acknowledge", "offline", "went", "to", "look")
    assert (done.returncode, done.stdout) == (0, "offline acknowledged\n")
    shown = plant.chiller("alarms").stdout
    assert "acknowledged by 127.0.0.1: went to look" in shown
    done = plant.chiller("shelve", "offline", "600", "new", "cable")
    assert (done.returncode, done.stdout) == (0, "offline shelved for 600 s\n")
    assert "shelved until 20" in plant.chiller("alarms").stdout
    assert plant.status()["alarms"] == []
    assert plant.chiller("shelve", "offline", "0").returncode == 0
    plant.fault("unplug off")
    wait_for(lambda: plant.status()["connected"], "the chiller")


# --- a reader that leaves


def test_a_reader_that_leaves_is_no_error(plant: Site) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    run = [sys.executable, str(ROOT / "chiller"), "counters"]
    done = subprocess.run(run, env=plant.environment, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


# --- start-up

HEAVY = {"serial", "pymodbus", "sqlalchemy", "astropy", "numpy", "Pyro5", "rich"}


def modules_after(site: Site, *arguments: str) -> set[str]:
    """The top-level packages in the interpreter after `chiller …`."""
    script = (
        "import sys\n"
        f"sys.argv = ['chiller', *{list(arguments)!r}]\n"
        "from rockit.chiller.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit as end:\n"
        "    print(end.code, *sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)\n"
    )
    run = [sys.executable, "-c", script]
    done = subprocess.run(run, cwd=ROOT, env=site.environment, capture_output=True, text=True, timeout=60)
    code, *modules = done.stderr.split()
    assert code == "0", done.stderr
    return set(modules)


def test_help_imports_nothing_heavy(plant: Site) -> None:
    modules = modules_after(plant, "--help")
    assert "click" in modules
    assert not modules & HEAVY


@pytest.mark.parametrize("verb", ["json", "status"])
def test_asking_imports_neither_rich_nor_serial(plant: Site, verb: str) -> None:
    modules = modules_after(plant, verb)
    assert "Pyro5" in modules
    assert not modules & (HEAVY - {"Pyro5"})


# --- completion


@pytest.fixture
def on_path(plant: Site, tmp_path: Path) -> dict[str, str]:
    """An environment with `chiller` on the PATH, run by this interpreter."""
    program = tmp_path / "chiller"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(ROOT / "chiller"))} "$@"\n')
    program.chmod(0o755)
    return {**plant.environment, "PATH": f"{tmp_path}:{os.environ['PATH']}"}


@pytest.mark.parametrize(
    ("shell", "text"), [("bash", "complete -o nosort -F"), ("zsh", "#compdef chiller"), ("fish", "complete ")]
)
def test_completion_scripts(plant: Site, shell: str, text: str) -> None:
    done = plant.chiller("completion", shell)
    assert done.returncode == 0
    assert text in done.stdout
    assert f"_CHILLER_COMPLETE={shell}_complete" in done.stdout


@pytest.mark.parametrize(
    ("words", "found"),
    [("chiller mo", ["mode"]), ("chiller mode ", ["auto", "manual"]), ("chiller co", ["completion", "counters"]),
     ("chiller watch --c", ["--count"])],
)  # fmt: skip
def test_completions_by_the_shell_protocol(plant: Site, words: str, found: list[str]) -> None:
    position = str(len(words.split(" ")) - 1)
    done = plant.chiller(_CHILLER_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=position)
    assert [line.partition(",")[2] for line in done.stdout.splitlines()] == found


def test_bash_itself_completes(on_path: dict[str, str]) -> None:
    script = (
        "source <(chiller completion bash)\n"
        'COMP_WORDS=(chiller setp); COMP_CWORD=1; COMP_LINE="chiller setp"; COMP_POINT=12\n'
        "_chiller_completion chiller setp chiller\n"
        'echo "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(["bash", "-c", script], env=on_path, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("setpoint\n", "")


def test_the_config_may_be_named_after_the_verb(site: Site) -> None:
    site.simulator()
    site.chillerd()
    config = str(site.config)
    for words in (("json", "-c", config), ("-c", config, "json"), ("json", f"--config={config}")):
        answer = site.chiller(*words, CHILLERD_CONFIG_PATH="")
        assert answer.returncode == 0, answer.stderr
        assert json.loads(answer.stdout)["connected"] is True


@pytest.mark.parametrize("verb", ["status", "json", "alarms", "describe", "counters"])
@pytest.mark.parametrize(("closing", "code"), [(">&-", 0), (">&- 2>&-", 0), (">/dev/full", 1)])
def test_output_that_goes_nowhere_is_no_traceback(plant: Site, verb: str, closing: str, code: int) -> None:
    done = subprocess.run(
        f"{sys.executable} {ROOT / 'chiller'} {verb} {closing}", shell=True, env=plant.environment, timeout=60,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert ("the output cannot be written" in done.stderr) == bool(code)


def test_a_negative_number_is_a_number(plant: Site) -> None:
    assert "outside the limits" in failed(plant, 11, "setpoint", "-5")
    done = plant.chiller("shelve", "offline", "-1")
    assert (done.returncode, "no alarm 'offline'" in done.stderr) in ((11, False), (1, True)), done.stderr
