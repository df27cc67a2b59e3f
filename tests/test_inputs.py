# SPDX-License-Identifier: GPL-3.0-or-later
"""What chillerd believes of other daemons: real servers that imitate powerd and domealertd, over real sockets."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from harness import free_ports, wait_for
from served import Lines, Served, serving

from rockit.chiller import inputs as chiller_inputs
from rockit.chiller.config import ChillerConfig
from rockit.chiller.dewpoint import dew_point
from rockit.chiller.inputs import ChillerInputs
from rockit.chiller.model import MEASUREMENTS
from rockit.common import config
from rockit.common.errors import Code, CommandError
from rockit.common.inputs import measurement_is_current, number
from rockit.common.remote.service import read

KEYS = {"temperature_value_key": "internal_temp", "temperature_valid_key": "internal_temp_valid"}


def date(age: float = 0.0) -> str:
    return (datetime.now(UTC) - timedelta(seconds=age)).strftime("%Y-%m-%dT%H:%M:%SZ")


class Daemon:
    """Says what the test wants; `polls` counts how often it was asked."""

    def __init__(self, **values: Any) -> None:
        self.log = Lines()
        self.allowed: frozenset[str] = frozenset()
        self.values = values
        self.answer: Callable[[], Any] = lambda: {"date": date(), **self.values}
        self.polls = 0

    @read
    def last_measurement(self) -> Any:
        self.polls += 1
        return self.answer()


class Power(Daemon):
    """As powerd: 0 off, 1 on, 2 unknown; False for a name that it does not have."""

    @read
    def value(self, name: str) -> Any:
        return self.values.get(name, False)


class PowerWithoutMeasurements:
    """As a relay daemon that has only `value`."""

    def __init__(self, **values: Any) -> None:
        self.log = Lines()
        self.allowed: frozenset[str] = frozenset()
        self.values = values

    @read
    def value(self, name: str) -> Any:
        return self.values.get(name, False)


class Bench:
    """Inputs of a chiller with a registry of their own."""

    def __init__(self, folder: Path, stack: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ports = dict(zip(("power", "dome"), free_ports(2), strict=True))
        entries = {
            name: {"object_id": f"{name}_daemon", "machine": "LocalHost", "port": port, "timeout": 2}
            for name, port in self.ports.items()
        }
        entries["me"] = {"object_id": "me", "machine": "LocalHost", "port": 1}
        path = folder / "daemons.json"
        path.write_text(json.dumps({"machines": {"LocalHost": ["127.0.0.1"]}, "daemons": entries}))
        monkeypatch.setenv("ROCKIT_DAEMONS_PATH", str(path))
        monkeypatch.setattr(chiller_inputs, "SHORTEST", 0.0)
        self.log = Lines()
        self.stop = threading.Event()
        self._stack = stack

    def serve(self, name: str, service: Any) -> Served:
        return self._stack.enter_context(serving(service, port=self.ports[name], object_id=f"{name}_daemon"))

    def inputs(self, **keys: Any) -> ChillerInputs:
        content = {"daemon": "me", "log_name": "x", "serial_port": "/dev/x", "query_delay": 0.05, **keys}
        made = ChillerInputs(config.parse(json.dumps(content), ChillerConfig, "test"), self.stop, self.log)
        made.start()
        self._stack.callback(self.stop.set)
        return made

    def dome(self, **keys: Any) -> ChillerInputs:
        return self.inputs(temperature_daemon="dome", **{**KEYS, **keys})

    def power(self, *channels: str) -> ChillerInputs:
        return self.inputs(power_daemon="power", power_channels=channels)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    with ExitStack() as stack:
        yield Bench(tmp_path, stack, monkeypatch)


def temperature(inputs: ChillerInputs) -> float | None:
    return inputs.now(monotonic()).dome_temp


def channels(inputs: ChillerInputs) -> dict[str, bool | None] | None:
    return inputs.now(monotonic()).channels


def asked_twice_more(service: Daemon) -> None:
    """A fetch that began after this call has been merged when this returns."""
    seen = service.polls
    wait_for(lambda: service.polls >= seen + 3, "two whole fetches")


# The dome's air


def test_a_valid_temperature_is_believed(bench: Bench) -> None:
    bench.serve("dome", Daemon(internal_temp=4.5, internal_temp_valid=True))
    inputs = bench.dome()
    wait_for(lambda: temperature(inputs) == 4.5, "the temperature")
    assert inputs.now(monotonic()).dome_expected is True
    assert inputs.counters()["temperature_input_polls"] >= 1
    assert "temperature_input_failures" not in inputs.counters()
    assert bench.log.lines == []


@pytest.mark.parametrize(
    "change",
    [
        {"internal_temp_valid": False}, {"internal_temp_valid": None}, {"internal_temp_valid": 1},
        {"internal_temp": math.nan},
        {"internal_temp": math.inf}, {"internal_temp": None}, {"internal_temp": "4.5"}, {"internal_temp": True},
        {"internal_temp": 850.0}, {"internal_temp": -127.0}, {"internal_temp": 10**400}, {"date": date(3600)},
        {"date": date(-3600)}, {"date": "now"}, {"date": None},
    ],
    ids=lambda change: " ".join(f"{key}={str(value)[:12]}" for key, value in change.items()),
)  # fmt: skip
def test_what_the_dome_daemon_does_not_vouch_for_is_not_known(bench: Bench, change: dict[str, Any]) -> None:
    dome = Daemon(internal_temp=4.5, internal_temp_valid=True)
    bench.serve("dome", dome)
    inputs = bench.dome()
    wait_for(lambda: temperature(inputs) == 4.5, "the temperature")
    dome.values.update(change)
    wait_for(lambda: temperature(inputs) is None, "the value to be given up")
    asked_twice_more(dome)
    assert temperature(inputs) is None, "and it stays given up"
    dome.values = {"internal_temp": 5.5, "internal_temp_valid": True}
    wait_for(lambda: temperature(inputs) == 5.5, "the next value")
    asked_twice_more(dome)
    assert [text.split(":")[0].split(" from")[0] for _, text in bench.log.lines] == [
        "Lost dome temperature", "Restored dome temperature",
    ]  # fmt: skip
    assert [level for level, _ in bench.log.lines] == ["error", "info"]


@pytest.mark.parametrize("missing", ["internal_temp", "internal_temp_valid", "date"])
def test_a_missing_key_is_not_known_and_is_no_crash(bench: Bench, missing: str) -> None:
    dome = Daemon(internal_temp=4.5, internal_temp_valid=True)
    dome.answer = lambda: {k: v for k, v in {"date": date(), **dome.values}.items() if k != missing}
    bench.serve("dome", dome)
    inputs = bench.dome()
    asked_twice_more(dome)
    assert temperature(inputs) is None
    assert len(bench.log.lines) == 1
    why = "the date of its measurement is None" if missing == "date" else "dome has no valid value of temperature"
    assert why in bench.log.lines[0][1]


@pytest.mark.parametrize("answer", [None, {}, [], "down", 5, [{"internal_temp": 4.5}]], ids=str)
def test_an_answer_of_another_shape_is_not_known(bench: Bench, answer: Any) -> None:
    dome = Daemon()
    dome.answer = lambda: answer
    bench.serve("dome", dome)
    inputs = bench.dome()
    asked_twice_more(dome)
    assert temperature(inputs) is None
    assert len(bench.log.lines) == 1


def test_a_daemon_without_validity_flags_is_believed_by_date_alone(bench: Bench) -> None:
    dome = Daemon(internal_temp=4.5)
    bench.serve("dome", dome)
    inputs = bench.dome(temperature_valid_key=None)
    wait_for(lambda: temperature(inputs) == 4.5, "the temperature")
    dome.values["date"] = date(3600)
    wait_for(lambda: temperature(inputs) is None, "a stale one to be given up")


def test_a_dead_humidity_sensor_does_not_dry_the_air(bench: Bench) -> None:
    """One that reads 0 would switch the dew point floor off."""
    dome = Daemon(internal_temp=15.0, internal_temp_valid=True, humidity=0)
    bench.serve("dome", dome)
    inputs = bench.dome(humidity_value_key="humidity")
    wait_for(lambda: temperature(inputs) == 15.0, "the temperature")
    assert inputs.now(monotonic()).humidity is None
    assert inputs.dew_point(monotonic()) is None


def test_humidity_has_a_life_of_its_own(bench: Bench) -> None:
    dome = Daemon(internal_temp=12.0, internal_temp_valid=True, rh=60.0, rh_valid=True)
    bench.serve("dome", dome)
    inputs = bench.dome(humidity_value_key="rh", humidity_valid_key="rh_valid")
    wait_for(lambda: inputs.now(monotonic()).humidity == 60.0, "the humidity")
    assert inputs.dew_point(monotonic()) == pytest.approx(dew_point(12.0, 60.0), abs=0.01)
    dome.values["rh_valid"] = False
    wait_for(lambda: inputs.now(monotonic()).humidity is None, "the humidity to be given up")
    assert temperature(inputs) == 12.0
    assert inputs.dew_point(monotonic()) is None
    assert "has no valid value of humidity" in bench.log.lines[0][1]


def test_a_vanished_daemon_is_logged_once_and_its_return_once(bench: Bench) -> None:
    dome = Daemon(internal_temp=4.5, internal_temp_valid=True)
    served = bench.serve("dome", dome)
    inputs = bench.dome()
    wait_for(lambda: temperature(inputs) == 4.5, "the temperature")
    served.stop()
    wait_for(lambda: temperature(inputs) is None, "an old value to be given up")
    wait_for(lambda: inputs.counters()["temperature_input_failures"] >= 5, "some failures")
    bench.serve("dome", Daemon(internal_temp=6.5, internal_temp_valid=True))
    wait_for(lambda: temperature(inputs) == 6.5, "the value after its return")
    wait_for(lambda: len(bench.log.lines) >= 2, "the line that says so")
    lost, restored = bench.log.lines
    assert lost[0] == "error"
    assert lost[1].startswith("Lost dome temperature: cannot reach dome at 127.0.0.1:")
    assert lost[1].endswith("nothing listens there; is the daemon running?")
    assert restored[0] == "info"
    assert restored[1].startswith("Restored dome temperature from dome after ")
    assert int(restored[1].split()[-2]) >= 5, "with the count"


def test_one_missed_fetch_takes_no_value_away(bench: Bench) -> None:
    dome = Daemon(internal_temp=4.5, internal_temp_valid=True)
    bench.serve("dome", dome)
    inputs = bench.dome(query_delay=30)  # long enough that only the age limit could take the value away
    wait_for(lambda: temperature(inputs) == 4.5, "the temperature")
    now = monotonic()
    for age, believed in ((0, 4.5), (30, 4.5), (89, 4.5), (93, None), (86400, None)):
        assert inputs.now(now + age).dome_temp == believed, f"after {age} s"


def test_a_measurement_that_stands_still_takes_the_older_ones_with_it(bench: Bench) -> None:
    dome = Daemon(internal_temp=4.5, internal_temp_valid=True)
    bench.serve("dome", dome)
    inputs = bench.dome(query_delay=30)  # long enough that only the date could take the value away
    wait_for(lambda: temperature(inputs) == 4.5, "the temperature")
    dome.values["date"] = date(3600.0)
    inputs._air._once()
    assert temperature(inputs) is None


def test_a_daemon_that_hangs_does_not_hold_up_the_control_loop(bench: Bench) -> None:
    gate = threading.Event()
    dome = Daemon(internal_temp=4.5, internal_temp_valid=True)
    dome.answer = lambda: gate.wait(60) and {}
    bench.serve("dome", dome)
    inputs = bench.dome()
    wait_for(lambda: dome.polls == 1, "the fetch that hangs")
    assert temperature(inputs) is None, "told while the fetch hangs"
    assert "temperature_input_failures" not in inputs.counters(), "and it still did"
    wait_for(lambda: bench.log.lines, "the fetch to be given up")
    gate.set()
    assert "no answer within 2 s" in bench.log.lines[0][1]


def test_without_a_temperature_daemon_nothing_is_asked(bench: Bench) -> None:
    inputs = bench.inputs()
    found = inputs.now(monotonic())
    assert (found.channels, found.dome_temp, found.dome_expected) == (None, None, False)
    assert inputs.counters() == {}


# Power channels


def test_channels_are_on_and_off(bench: Bench) -> None:
    power = Power(cmos=1, swir=0)
    bench.serve("power", power)
    inputs = bench.power("cmos", "swir")
    wait_for(lambda: channels(inputs) == {"cmos": True, "swir": False}, "the channels")
    power.values = {"cmos": 0, "swir": 1}
    wait_for(lambda: channels(inputs) == {"cmos": False, "swir": True}, "the change")
    assert bench.log.lines == []


def test_units_of_what_other_daemons_know() -> None:
    units = {key: MEASUREMENTS[key].unit for key in ("dome_temp", "humidity", "dew_point")}
    assert units == {"dome_temp": "degC", "humidity": "%", "dew_point": "degC"}


def test_true_is_on(bench: Bench) -> None:
    bench.serve("power", Power(cmos=True, swir=0))
    inputs = bench.power("cmos", "swir")
    wait_for(lambda: channels(inputs) == {"cmos": True, "swir": False}, "the channels")


@pytest.mark.parametrize("state", [2, -1, 3, None, "on", 1.0, math.nan, [1], False], ids=str)
def test_a_state_that_is_neither_on_nor_off_is_not_off(bench: Bench, state: Any) -> None:
    power = Power(cmos=1, swir=0)
    bench.serve("power", power)
    inputs = bench.power("cmos", "swir")
    wait_for(lambda: channels(inputs) == {"cmos": True, "swir": False}, "the channels")
    power.values["cmos"] = state
    wait_for(lambda: channels(inputs) == {"cmos": None, "swir": False}, "not known, and the other as before")
    power.values["cmos"] = 1
    wait_for(lambda: channels(inputs) == {"cmos": True, "swir": False}, "known again")
    wait_for(lambda: len(bench.log.lines) >= 2, "both lines")
    assert bench.log.lines[0] == ("error", "Lost power state of the cameras: power has no valid value of cmos")
    assert bench.log.lines[1][1].startswith("Restored power state of the cameras")
    assert len(bench.log.lines) == 2


def test_a_name_that_the_power_daemon_does_not_have_is_not_off(bench: Bench) -> None:
    """powerd answers False to `value` of any name; drifted names must not switch the chiller off."""
    power = Power(cam1=1)
    bench.serve("power", power)
    inputs = bench.power("cam1", "cmos")
    wait_for(lambda: channels(inputs) == {"cam1": True, "cmos": None}, "one known, one not")
    asked_twice_more(power)
    assert channels(inputs) == {"cam1": True, "cmos": None}
    assert bench.log.lines == [("error", "Lost power state of the cameras: power has no valid value of cmos")]


def test_stale_power_states_are_not_known(bench: Bench) -> None:
    power = Power(cmos=0, date=date(3600))
    bench.serve("power", power)
    inputs = bench.power("cmos")
    asked_twice_more(power)
    assert channels(inputs) == {"cmos": None}


def test_states_that_their_daemon_does_not_vouch_for_are_not_known(bench: Bench) -> None:
    power = Power(cmos=0, swir=1, cmos_valid=False, swir_valid=True)
    bench.serve("power", power)
    inputs = bench.power("cmos", "swir")
    wait_for(lambda: channels(inputs) == {"cmos": None, "swir": True}, "one known, one not")


def test_states_without_a_time_are_asked_for_one_by_one(bench: Bench) -> None:
    power = Power(cmos=1)
    power.answer = lambda: {"cmos": 0}
    bench.serve("power", power)
    inputs = bench.power("cmos")
    wait_for(lambda: channels(inputs) == {"cmos": True}, "the state as it is now")


def test_a_power_daemon_with_single_values_only_is_asked_one_by_one(bench: Bench) -> None:
    service = PowerWithoutMeasurements(cmos=1, swir=0, dome=2)
    bench.serve("power", service)
    inputs = bench.power("cmos", "swir", "dome", "nowhere")
    expected = {"cmos": True, "swir": False, "dome": None, "nowhere": None}
    wait_for(lambda: channels(inputs) == expected, "the channels")


def test_a_power_daemon_that_fails_inside_is_not_off(bench: Bench) -> None:
    power = Power(cmos=0)
    bench.serve("power", power)
    inputs = bench.power("cmos")
    wait_for(lambda: channels(inputs) == {"cmos": False}, "the channel")

    def fail() -> Any:
        raise CommandError(Code.FAILED, "SNMP is silent")

    power.values = {"cmos": 2}
    power.answer = fail
    wait_for(lambda: channels(inputs) == {"cmos": None}, "not known")


def test_a_vanished_power_daemon_is_not_off(bench: Bench) -> None:
    served = bench.serve("power", Power(cmos=1))
    inputs = bench.power("cmos")
    wait_for(lambda: channels(inputs) == {"cmos": True}, "the channel")
    served.stop()
    wait_for(lambda: channels(inputs) == {"cmos": None}, "not known")
    bench.serve("power", Power(cmos=1))
    wait_for(lambda: channels(inputs) == {"cmos": True}, "known again")
    wait_for(lambda: len(bench.log.lines) == 2, "two lines")


# The small functions


NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


@pytest.mark.parametrize(
    ("written", "current"),
    [("2026-03-04T05:06:07Z", True), ("2026-03-04T05:04:07Z", True), ("2026-03-04T05:04:06Z", False),
     ("2026-03-04T05:08:07Z", True), ("2026-03-04T05:08:08Z", False), ("2026-03-04T05:06:07", False),
     ("2026-03-04 05:06:07Z", False), ("", False), (None, False), (1772600767, False)],
)  # fmt: skip
def test_how_old_a_measurement_may_be(written: object, current: bool) -> None:
    assert measurement_is_current({"date": written}, NOW) is current


def test_a_measurement_without_a_date_is_not_current() -> None:
    assert measurement_is_current({}, NOW) is False


@pytest.mark.parametrize(
    ("value", "expected"),
    [(5, 5.0), (5.5, 5.5), (-60, -60.0), (80, 80.0), (80.01, None), (-60.01, None), (False, None)],
)
def test_a_number_must_be_one_and_plausible(value: object, expected: float | None) -> None:
    found = number({"t": value}, "t", None, -60.0, 80.0)
    assert found == expected
    assert found is None or isinstance(found, float)
