# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes on inside a ThermoTek TTK chiller: run state, readings, protections, alarms. No framing.

Facts from the TTK Serial Communication Protocol Release II (X2.003) and the RC user manual 0P1DRC3MEN_A.
Assumed, because no document says: every alarm that stops the unit is latched; a unit with such an alarm acknowledges
"run" and stays in standby; fans run on for 60 s.
"""

from __future__ import annotations

import random

from rockit.chiller.simulators.thermal import ThermalLoop

AUTO_START, STANDBY, RUN, SAFETY = 0, 1, 2, 3
"""Control states of the watchdog answer."""

AUTO_START_TIME = 2.0
"""Seconds of line time in auto-start after power-up."""
PANEL_SCAN = 1.5
"""Seconds within which the front panel notices that an alarm forced standby."""
FAN_RUN_ON = 60.0
OPEN_SENSOR = 999.9
"""What a sensor reads whose wire is broken: the end of the format's range, °C (assumed)."""

# (index of the hex digit, bit) in the six digits A0..A5
SUPPLY_SENSOR, LOW_LEVEL, LOW_FLOW = (1, 1), (2, 1), (2, 2)
HIGH_CONTROL, LOW_CONTROL, HIGH_AMBIENT, LOW_AMBIENT = (0, 2), (0, 8), (3, 2), (3, 4)
HIGH_SUPPLY, LOW_SUPPLY, NO_FLOW, FAN = (4, 1), (4, 2), (4, 4), (4, 8)
AMBIENT_ABOVE_50 = HIGH_AMBIENT

# alarm -> seconds that its cause must last before the unit stops (RC manual)
STOPS = {LOW_LEVEL: 5.0, NO_FLOW: 5.0, FAN: 5.0, SUPPLY_SENSOR: 5.0, HIGH_SUPPLY: 2.5, LOW_SUPPLY: 2.5}

THRESHOLDS = ("high_supply", "low_supply", "high_ambient", "low_ambient", "low_flow")
"""In the order of the command numbers."""
WARN = {"high_supply": 50.0, "low_supply": 5.0, "high_ambient": 40.0, "low_ambient": 0.0, "low_flow": 0.5}
ALARM = {"high_supply": 50.0, "low_supply": 2.0, "high_ambient": 50.0, "low_ambient": -5.0, "low_flow": 0.3}
"""Factory thresholds in °C and L/min: supply and flow as Rubin set theirs, ambient assumed."""


class Unit:
    """The chiller. `step` lets a simulated second pass; everything else happens in no time."""

    def __init__(
        self,
        loop: ThermalLoop,
        rng: random.Random,
        *,
        setpoint: float,
        flow: float,
        running: bool,
        autostart: bool,
    ) -> None:
        self.loop = loop
        self.random = rng
        self.setpoint = setpoint
        self.pump_flow = flow
        self.level = 1.0
        """Coolant in the tank, 0 to 1; the switch opens below 0.2."""
        self.autostart = autostart
        self.warn = dict(WARN)
        self.alarm = dict(ALARM)
        self.powered = True
        self.mode_mismatch = False
        self.state = STANDBY
        self.blocked_flow: float | None = None
        self.low_level = self.fan_failed = self.sensor_open = False
        self.forced_alarms = self.forced_warnings = ""
        self.frozen: dict[str, float] | None = None
        self.power_up()
        if running:
            self.state = RUN

    # --- power and run state

    def power_up(self) -> None:
        """Mains on: alarms are forgotten, set point and thresholds are kept."""
        self.powered = True
        self.mode_mismatch = False
        self.latched: set[tuple[int, int]] = set()
        self.uptime = 0.0
        self.since_pump_start = 0.0
        self.since_pump_stop = FAN_RUN_ON
        self._causes: dict[tuple[int, int], float] = {}
        self._hot = 0.0
        self._forced_at: float | None = None
        self._flow_noise = 0.0
        self._started_at: float | None = None
        self.state = AUTO_START if self.autostart else STANDBY

    def power_down(self) -> None:
        """Mains off."""
        self.powered = False
        self.state = STANDBY

    def tick_line(self, line_time: float) -> None:
        """Auto-start ends by itself."""
        if self._started_at is None:
            self._started_at = line_time
        if self.state == AUTO_START and line_time - self._started_at >= AUTO_START_TIME:
            self.state = RUN

    def run(self) -> None:
        """The command: a stopping alarm that still stands keeps the unit in standby."""
        if self.mode_mismatch or self.latched:
            return
        if not self.pumping:
            self.since_pump_start = 0.0
        if self.state != AUTO_START:
            self.state = RUN

    def standby(self) -> None:
        """The command; after it the panel and the controller agree again."""
        self._forced_at = None
        if not self.mode_mismatch:
            self._stop()

    @property
    def pumping(self) -> bool:
        """Pump and fans on."""
        return self.state in (AUTO_START, RUN)

    def restore_thresholds(self) -> None:
        """Back to the factory's."""
        self.warn.update(WARN)
        self.alarm.update(ALARM)

    # --- readings

    @property
    def flow(self) -> float:
        """What flows now, L/min."""
        if not self.pumping:
            return 0.0
        return self.pump_flow if self.blocked_flow is None else min(self.blocked_flow, self.pump_flow)

    @property
    def supply(self) -> float:
        """What the supply sensor says, °C."""
        return OPEN_SENSOR if self.sensor_open else self.loop.supply

    @property
    def fan_speed(self) -> float:
        """Of a sound fan, Hz."""
        return 45.0 if self.pumping or self.since_pump_stop < FAN_RUN_ON else 0.0

    def readings(self) -> dict[str, float]:
        """What the read commands report; frozen ones while the fault `stuck` is on."""
        return self._measure() if self.frozen is None else self.frozen

    def freeze(self, frozen: bool) -> None:
        """Let the readings stick where they are, or follow again."""
        self.frozen = self._measure() if frozen else None

    def _measure(self) -> dict[str, float]:
        drive = self.loop.drive
        return {
            "supply": self.supply,
            "return": round(self.loop.return_temp(self.flow), 1),
            # The electronics warm the ambient sensor while the unit runs.
            "ambient": round(self.loop.ambient + (2.0 if self.pumping else 0.0), 1),
            "flow": max(0.0, round(self.flow + self._flow_noise, 1)),
            "drive": drive,
            "current_1": 6.0 * drive,
            "current_2": 5.9 * drive,
            "fan": self.fan_speed,
            "failed_fan": 0.0 if self.fan_failed else self.fan_speed,
        }

    # --- time

    def step(self, dt: float, line_time: float) -> None:
        """`dt` simulated seconds, ending at `line_time`."""
        controlled = self.setpoint if self.pumping and self.powered else None
        self.loop.step(dt, controlled, self.flow if self.powered else 0.0)
        if not self.powered:
            return
        self.uptime += dt
        if self.pumping:
            self.since_pump_start += dt
            self.since_pump_stop = 0.0
            self._flow_noise = self.random.gauss(0.0, 0.02) if self.flow > 0.0 else 0.0
        else:
            self.since_pump_start = 0.0
            self.since_pump_stop += dt
            self._flow_noise = 0.0
        self._protect(dt, line_time)

    def _protect(self, dt: float, line_time: float) -> None:
        for alarm, cause in self._causes_now().items():
            self._causes[alarm] = self._causes.get(alarm, 0.0) + dt if cause else 0.0
            if self._causes[alarm] > STOPS[alarm]:
                self.latched.add(alarm)
                if self.pumping:
                    self._stop()
                    self._forced_at = line_time
        self._hot = self._hot + dt if self.loop.ambient > 50.0 else 0.0

    def _causes_now(self) -> dict[tuple[int, int], bool]:
        pumping = self.pumping
        return {
            LOW_LEVEL: self._level_low(),
            NO_FLOW: pumping and self.since_pump_start > 10.0 and self.flow < 0.1,
            FAN: pumping and self.since_pump_start > 15.0 and self.fan_failed,
            SUPPLY_SENSOR: self.sensor_open,
            HIGH_SUPPLY: not self.sensor_open and self.loop.supply > 53.0,
            LOW_SUPPLY: not self.sensor_open and self.loop.supply < -8.0,
        }

    def _level_low(self) -> bool:
        return self.low_level or self.level < 0.2

    def _stop(self) -> None:
        self.state = STANDBY
        self.loop.drive = 0.0

    # --- alarms and warnings

    def alarms(self) -> list[int]:
        """The six digits A0..A5."""
        digits = [int(digit, 16) for digit in self.forced_alarms or "000000"]
        for index, bit in self.latched | self._standing_alarms():
            digits[index] |= bit
        return digits

    def _standing_alarms(self) -> set[tuple[int, int]]:
        """Alarms that come and go with their cause and stop nothing."""
        found = self._beyond(self.alarm)
        names = {
            "high_supply": HIGH_CONTROL, "low_supply": LOW_CONTROL, "high_ambient": HIGH_AMBIENT,
            "low_ambient": LOW_AMBIENT, "low_flow": LOW_FLOW,
        }  # fmt: skip
        return {names[name] for name in found} | ({AMBIENT_ABOVE_50} if self._hot > 2.5 else set())

    def warnings(self) -> list[int]:
        """The four digits W0..W3."""
        digits = [int(digit, 16) for digit in self.forced_warnings or "0000"]
        bits = {
            "low_flow": (0, 1), "high_supply": (1, 1), "low_supply": (1, 2), "high_ambient": (1, 4),
            "low_ambient": (1, 8),
        }  # fmt: skip
        for name in self._beyond(self.warn):
            index, bit = bits[name]
            digits[index] |= bit
        if self._level_low():
            digits[0] |= 2
        return digits

    def _beyond(self, limits: dict[str, float]) -> set[str]:
        now = self.readings()
        found = {
            "high_ambient": now["ambient"] > limits["high_ambient"],
            "low_ambient": now["ambient"] < limits["low_ambient"],
            "low_flow": self.pumping and self.since_pump_start > 10.0 and now["flow"] < limits["low_flow"],
        }
        if not self.sensor_open:
            found["high_supply"] = now["supply"] > limits["high_supply"]
            found["low_supply"] = now["supply"] < limits["low_supply"]
        return {name for name, beyond in found.items() if beyond}

    def alarms_2(self, page: int) -> list[int]:
        """The eight digits B0..B7 (page 1) or C0..C7 (page 2)."""
        digits = [0] * 8
        if page == 2 and SUPPLY_SENSOR in self.latched:
            digits[1] = 1 | (4 if self.sensor_open else 0)
        if page == 2 and self.fan_failed:
            digits[7] = 1
        return digits

    def clear_latched(self, line_time: float) -> None:
        """Forget latched alarms whose cause is gone, as reading them (18) does.

        The unit judges by what it can see: with the pump off there is no telling whether the flow is still blocked.
        Clearing what forced a standby before the panel saw it, without a standby command first, leaves panel and
        controller at odds until the next power-up.
        """
        still = {alarm for alarm, cause in self._causes_now().items() if cause}
        if self.fan_failed and self.fan_speed > 0.0:
            still.add(FAN)
        gone = self.latched - still
        self.latched -= gone
        if gone and self._forced_at is not None and line_time - self._forced_at < PANEL_SCAN:
            self.mode_mismatch = True
            self.state = SAFETY
        if not self.latched:
            self._forced_at = None
