# SPDX-License-Identifier: GPL-3.0-or-later
"""chillerd: puts a chiller's parts together."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

from rockit.chiller import drivers, simulators
from rockit.chiller.config import KIND, ChillerConfig
from rockit.chiller.inputs import ChillerInputs
from rockit.chiller.kept import Saved
from rockit.chiller.service import ChillerService, measured
from rockit.chiller.unit import ChillerUnit
from rockit.common import daemon
from rockit.common.alarms import Transition
from rockit.common.device import Alarms
from rockit.common.poll import Poller
from rockit.common.state import StateFile
from rockit.common.transport.line import Line
from rockit.history.settings import history


class ChillerDaemon:
    """One chiller with its line, driver, inputs, query loop and remote object."""

    def __init__(self, config: ChillerConfig, context: daemon.Context, counters: Callable[[], dict[str, int]]) -> None:
        family = drivers.load(config.driver)
        settings = family.line_settings.overridden(
            baud=config.serial_baud, bytesize=config.serial_bytesize, parity=config.serial_parity,
            stopbits=config.serial_stopbits, timeout=config.serial_timeout or None, interval=config.command_interval,
        )  # fmt: skip
        if config.serial_port.startswith("sim://"):
            simulators.register_all()
        log = context.log
        self._line: Line[Any] = Line(
            config.serial_port, settings, family.decoder, context.stop, log.warning,
            synchronise=family.synchronise, beat=context.beat,
        )  # fmt: skip
        driver = family(self._line)
        keys = measured(config, driver)
        record = self._record = history(config, context.state, keys, log)
        alarms = self._alarms = Alarms(context.state, log, tell=self._alarm)
        self._inputs = ChillerInputs(config, context.stop, log)
        self._unit = ChillerUnit(
            config,
            self._line,
            driver,
            self._inputs,
            alarms,
            StateFile(context.state / "chiller.json", Saved),
            log,
            record,
        )
        name = f"{config.driver} on {config.serial_port}"
        self._poller = Poller(
            self._unit,
            name,
            config.query_delay,
            context.stop,
            log,
            context.beat,
            partial(alarms.update, "line"),
            self._polled,
        )
        self._daemon_counters = counters
        self.service = ChillerService(
            config,
            context.config_name,
            self._unit,
            driver,
            self._inputs,
            self._poller,
            alarms,
            self.counters,
            log,
            record,
        )

    def counters(self) -> dict[str, int]:
        """All counters of this daemon, since its start."""
        sources = (
            self._poller.counters,
            self._line.counters,
            self._unit.counters,
            self._inputs.counters(),
            self._record.counters,
        )
        found = dict.fromkeys(ALWAYS_COUNTED, 0)
        for source in sources:
            found.update(source)
        return {**found, **self._daemon_counters()}

    def start(self) -> None:
        """Begin to ask the inputs and to poll."""
        self._record.start()
        self._inputs.start()
        self._poller.start()

    def unsaved(self) -> str:
        """Whether the disk has taken mode, request and timers."""
        return "mode and request are not saved, and would be forgotten" if self._unit.forgetful else ""

    def end(self, deadline: float, *, leave: bool) -> bool:
        """Stop polling, and bring the chiller into its safe state, or `leave` it as it is."""
        clean = self._poller.end(deadline, leave=leave)
        for keeper in (self._unit, self._alarms):
            keeper.saved(max(0.1, deadline - time.monotonic()))
        self._record.end(max(deadline, time.monotonic() + 0.3))
        return clean

    def _polled(self) -> None:
        """After each poll, in the query loop: what else is known goes into the history with it."""
        for key, sample in self._inputs.samples(time.monotonic()).items():
            self._record.add({key: sample.value}, sample.time)
        self._record.states(self.service.states())
        self._record.commit()
        self._alarms.update("history", self._record.conditions())

    def _alarm(self, change: Transition) -> None:
        self._record.event("alarm", change.name, str(change.state), change.text, change.by)


ALWAYS_COUNTED = (
    "polls", "polls_failed", "requests", "answers", "timeouts", "late", "doubled", "foreign", "checksum", "truncated",
    "malformed", "garbage", "implausible", "port_lost", "connections_lost", "commands", "refused", "internal_errors",
)  # fmt: skip
"""Counters that are shown even when nothing was counted yet: a zero is news, too."""


def main() -> NoReturn:
    """Entry point of `chillerd`."""
    daemon.main(KIND, ChillerConfig, ChillerDaemon)
