# SPDX-License-Identifier: GPL-3.0-or-later
"""What a plant's daemon takes over from its state file where the config has changed meanwhile."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from rockit.boiler import kept
from rockit.boiler.config import BoilerConfig, StartSettings
from rockit.boiler.kept import Changed, Saved
from rockit.boiler.memory import DeviceState, Memory
from rockit.boiler.safety import Contact, Guard, Order

WAS = {"boiler": 0, "chiller1": 1, "winter_valve": 5, "summer_valve": 6, "led_red": 7}


class Lines:
    """A log that is read."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def warning(self, text: str) -> None:
        self.lines.append(text)


def saved(**changes: Changed) -> Saved:
    contacts = {name: Contact(True, 1.0) for name in WAS}
    return Saved(
        memory=Memory(devices={name: DeviceState(True, 1.0, 2.0, 3600.0, 4) for name in ("boiler", "chiller1")}),
        guard=Guard(contacts=contacts, orders={"boiler": Order(False, 1.0, 1.0, 1)},
                    failures={"chiller1": Contact(True, 1.0)}),
        settings=dict(changes), relays=dict(WAS),
    )  # fmt: skip


def test_the_same_wiring_keeps_all() -> None:
    found, left = kept.rewired(saved(), WAS)
    assert left == {}
    assert found.guard == saved().guard
    assert found.memory == saved().memory


def test_a_relay_that_has_another_number_is_another_relay() -> None:
    found, left = kept.rewired(saved(), {**WAS, "boiler": 8})
    assert left == {0: "boiler"}, "what it was is looked at until it is off"
    assert "boiler" not in found.guard.contacts
    assert not found.guard.orders
    assert found.memory.devices["boiler"].on is None
    assert found.memory.devices["boiler"].starts == 4, "the boiler is the same"
    assert "chiller1" in found.guard.contacts


def test_two_that_changed_places_leave_nothing_behind() -> None:
    found, left = kept.rewired(saved(), {**WAS, "boiler": 1, "chiller1": 0})
    assert left == {}
    assert not {"boiler", "chiller1"} & set(found.guard.contacts)


def test_what_the_config_names_no_more_is_let_go() -> None:
    new = {name: number for name, number in WAS.items() if name not in ("chiller1", "led_red")}
    found, left = kept.rewired(saved(), new)
    assert left == {1: "chiller1"}, "a light burns on, a chiller does not"
    assert found.guard.failures == {}, "an alarm of what is no more would never end"


def test_a_file_of_a_version_that_kept_no_numbers_is_taken_as_it_is() -> None:
    old = saved()
    old.relays = {}
    found, left = kept.rewired(old, WAS)
    assert (left, found.guard) == ({}, saved().guard)


def config(**settings: Any) -> BoilerConfig:
    return BoilerConfig(
        daemon="localhost_test", log_name="x", relay_port="/dev/relays", relays={"boiler": 0},
        settings=msgspec.convert(settings, StartSettings),
    )  # fmt: skip


def in_force(config_: BoilerConfig, **changes: Changed) -> tuple[Any, list[str], dict[str, Changed]]:
    state, log = saved(**changes), Lines()
    return kept.settings_in_force(config_, state, log), log.lines, state.settings


def test_settings_that_go_together_only_together_are_kept() -> None:
    start = config(setpoint_min=10, setpoint_max=15)
    settings, lines, _ = in_force(start, setpoint_min=Changed(20.0, 10.0), setpoint_max=Changed(30.0, 15.0))
    assert (settings.setpoint_min, settings.setpoint_max, lines) == (20.0, 30.0, [])


def test_a_start_value_that_was_changed_since_counts_more() -> None:
    settings, lines, left = in_force(config(tolerance=3), tolerance=Changed(2.0, 1.0))
    assert settings.tolerance == 3
    assert left == {}
    assert lines == ["tolerance is 3.0, as the config says anew, and not 2.0 any more"]


def test_only_the_setting_that_does_not_go_with_the_others_is_forgotten() -> None:
    changes = {
        "setpoint_max": Changed(42.5, 15.0),
        "tolerance": Changed(1.5, 1.111111),
        "cascade_time": Changed(9.0, 7.0),
    }
    settings, lines, left = in_force(config(setpoint_min=10, setpoint_max=15), **changes)
    assert (settings.setpoint_max, settings.tolerance, settings.cascade_time) == (15, 1.5, 9)
    assert list(left) == ["tolerance", "cascade_time"]
    assert len(lines) == 1
    assert lines[0].startswith("the setting setpoint_max = 42.5 is forgotten: ")


@pytest.mark.parametrize("name", ["rules", "__class__", "bogus"])
def test_a_name_that_is_no_setting_is_forgotten(name: str) -> None:
    _, lines, left = in_force(config(), **{name: Changed(1.0, 1.0)})
    assert left == {}
    assert len(lines) == 1
