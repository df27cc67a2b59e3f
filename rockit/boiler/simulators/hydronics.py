# SPDX-License-Identifier: GPL-3.0-or-later
"""The heat in the simulated plant: four bodies and what flows between them.

The loop's water exchanges heat with the building always (the system's pump runs), with the water in the boiler as far
as the winter valve is open and with the water in the chillers as far as the summer valve is. This star is solved at
once for the end of each step (implicit Euler), so that any step is stable and no energy is lost.

Assumed: 60 L in the boiler, 100 L in the chillers, which stand outside; a chiller has its full power until the water
that leaves it is at 3 °C, and then what keeps it there; the plant's room is as warm as the building.
"""

from __future__ import annotations

from rockit.boiler.simulators.burner import CAPACITY, Burner

LOOP, BUILDING, CHILLED = 2.1e6, 50e6, 420e3
"""J/K."""
TO_BUILDING, PIPES = 2000.0, 15.0
"""From the loop into the building, W/K: what is wanted, and what the pipes lose there."""
ENVELOPE, PER_WIND = 2500.0, 0.01
"""From the building to the outside, W/K, and by how much more with each m/s of wind."""
FLOW = 12.6e3
"""What 3 kg/s of water carry, W/K."""
STANDBY = 15.0
"""From the boiler to its room, and from the chillers to the outside, W/K."""
COLDEST = 3.0
"""What leaves the chillers is not cooled further, °C."""


class Hydronics:
    """Temperatures in °C, powers in W, energies in J, times in s."""

    def __init__(
        self, *, water: float, building: float, delay: float, internal: float, load: float, burner: Burner
    ) -> None:
        self.burner = burner
        self.building_temp = building
        self.delay = delay
        """Of the water on its way back to the sensor."""
        self.internal, self.load = internal, load
        """Heat that people and machines give to the building, and what some process gives to the loop."""
        self.heated = self.cooled = self.gained = self.lost = 0.0
        """So far: from the burner, taken by the chillers, from `internal` and `load`, to the outside and the room."""
        self.fill(water)

    def fill(self, celsius: float) -> None:
        """All water is as warm as this from now on."""
        self.loop_temp = self.return_temp = self.water_out_temp = self.chilled_temp = self._halfway = celsius
        burner = self.burner
        burner.outlet_temp = burner.inlet_temp = burner.supply_temp = burner.flue_temp = celsius

    def exchange(self, dt: float, valves: tuple[float, float], cooling: float, weather: tuple[float, float]) -> None:
        """Let `dt` s pass: `valves` winter and summer, 0 to 1; what the chillers can take; °C and m/s outside."""
        (winter, summer), (outside, wind) = valves, weather
        per_part = FLOW / (winter + summer) if winter + summer > 1.0 else FLOW  # open valves share one flow
        hot, cold = per_part * winter, per_part * summer
        burner = self.burner
        in_boiler, in_chillers = burner.outlet_temp, self.chilled_temp
        heat = burner.fire(dt, hot)
        taken = cooling
        if taken:
            # Not more than would cool the water in the chillers, or all of it, below what they leave.
            above, far = in_chillers - COLDEST, self.loop_temp - COLDEST
            most = CHILLED * above / dt
            most += min(cold * far, LOOP * far / dt)
            taken = 0.0 if most < 0.0 else most if most < taken else taken
        # Each body: (sum of conductances) x (temperature at the end) = (all that comes in). Leaves go into the centre.
        rate = 1.0 / dt
        exchange = TO_BUILDING + PIPES
        envelope = ENVELOPE * (1.0 + PER_WIND * wind)
        building = self.building_temp
        sum_boiler = CAPACITY * rate + hot + STANDBY
        in_1 = CAPACITY * rate * in_boiler + heat + STANDBY * building
        sum_chillers = CHILLED * rate + cold + STANDBY
        in_2 = CHILLED * rate * in_chillers - taken + STANDBY * outside
        sum_building = BUILDING * rate + exchange + envelope
        in_3 = BUILDING * rate * building + self.internal + envelope * outside
        via_1, via_2, via_3 = hot / sum_boiler, cold / sum_chillers, exchange / sum_building
        loop = (LOOP * rate * self.loop_temp + self.load + via_1 * in_1 + via_2 * in_2 + via_3 * in_3) / (
            LOOP * rate + hot * (1.0 - via_1) + cold * (1.0 - via_2) + exchange * (1.0 - via_3)
        )
        in_boiler = in_1 / sum_boiler + via_1 * loop
        in_chillers = in_2 / sum_chillers + via_2 * loop
        indoors = in_3 / sum_building + via_3 * loop
        self.heated += heat * dt
        self.cooled += taken * dt
        self.gained += (self.internal + self.load) * dt
        self.lost += (
            envelope * (indoors - outside) + STANDBY * (in_boiler - building + in_chillers - outside)
        ) * dt  # fmt: skip
        self.loop_temp, self.building_temp, self.chilled_temp = loop, indoors, in_chillers
        share = dt / (0.5 * self.delay + dt)  # the way back: two lags in a row
        self._halfway = halfway = self._halfway + (loop - self._halfway) * share
        self.return_temp += (halfway - self.return_temp) * share
        self.water_out_temp = burner.supply_temp = (
            loop + (hot * (in_boiler - loop) + cold * (in_chillers - loop)) / FLOW
        )
        burner.outlet_temp = in_boiler
        burner.inlet_temp = loop if winter >= 1.0 else in_boiler + (loop - in_boiler) * winter
