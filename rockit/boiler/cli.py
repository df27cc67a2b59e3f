# SPDX-License-Identifier: GPL-3.0-or-later
"""boiler: the command line of a boiler plant's daemon."""

from __future__ import annotations

from typing import Any, NoReturn

import click

from rockit.common import cli
from rockit.common.cli import Target, styled
from rockit.common.errors import Code, CommandError
from rockit.common.status import age_text

_SEASON_COLOUR = {"WINTER": "bright_red", "SUMMER": "bright_cyan"}
_TEMPERATURES = (
    ("return_temp", "Return is"),
    ("water_out_temp", "Outlet is"),
    ("outside_temp", "Outside is"),
    ("outside_temp_average", "Outside, mean of the last {hours} h, is"),
    ("effective_setpoint", "Set point is"),
    ("system_supply_temp", "Boiler: system supply is"),
    ("outlet_temp", "Boiler: outlet is"),
    ("inlet_temp", "Boiler: inlet is"),
    ("flue_temp", "Boiler: flue is"),
    ("boiler_demand", "Boiler: asked for"),
    ("system_setpoint", "Boiler: holds"),
)
_SOURCES = {"last known": "the last known", "average": "mean of the last days", "boiler": "by the boiler's inlet"}


group = cli.device_group(
    "boilerd",
    "Look at and command a boiler plant through its daemon, boilerd.",
    "11 out of range, 12 relays offline, 13 refused by the device, 14 noted, and held by a protection",
)


def shown(data: dict[str, Any]) -> list[str]:
    """The lines of a status, for people."""
    sign = "°C" if data["unit"] == "degC" else "°F"
    when = "Data received" if data["connected"] else "No data at"
    lines = [f"{when} {styled(data['date'], bold=True)}:", *_season_lines(data)]
    if data["emergency"]:
        lines.append(f"   {styled('EMERGENCY', bold=True, fg='bright_red')}: {data.get('emergency_because', '')}")
    if not data["connected"]:
        lines.append(f"   Relays do not answer: {data.get('offline_because', 'no reading yet')}")
    for key, text in _TEMPERATURES:
        if key in data:
            source = _SOURCES.get(data.get(f"{key}_source", ""), "")
            what = text.format(hours=data.get("outside_temp_average_hours", 96))
            lines.append(f"   {what} {styled(f'{data[key]:.1f}{sign}', bold=True)}{f' ({source})' if source else ''}")
    if "return_temp" not in data:
        source = _SOURCES.get(data.get("return_temp_source", ""), "")
        lines.append(f"   Return is {styled('not known', fg='bright_red')}{f', replaced {source}' if source else ''}")
    if "wind_speed" in data:
        lines.append(f"   Wind is {data['wind_speed']:.1f} {data['wind_unit']}")
    for key, text in (("cascade_power", "Boiler: cascade power is"), ("firing_rate", "Boiler: firing rate is")):
        if key in data:
            lines.append(f"   {text} {data[key]:g}%")
    if "boiler_offline_because" in data:
        lines.append(f"   Boiler does not answer: {data['boiler_offline_because']}")
    for key in ("boiler_faults", "boiler_warnings"):
        if data.get(key):
            lines.append(f"   Boiler reports: {styled(', '.join(data[key]), fg='bright_red')}")
    if "valves" in data:
        words = {True: styled("open", bold=True), False: "closed"}
        lines.append(f"   Valves: winter {words[data['valves']['winter']]}, summer {words[data['valves']['summer']]}")
    for name, device in data.get("devices", {}).items():
        lines += _device_lines(name, device)
    if data.get("alarms"):
        lines.append(f"   Alarms: {styled(', '.join(data['alarms']), fg='bright_red')}")
    if "reading_age" in data:
        lines.append(f"   Relays were read {age_text(data['reading_age'])} ago")
    return lines


def _season_lines(data: dict[str, Any]) -> list[str]:
    if "season_label" not in data:
        return ["   Season is not known yet"]
    label = data["season_label"]
    how = "changes by itself" if data["season_automatic"] else "changes by hand"
    lines = [f"   Season is {styled(label, bold=True, fg=_SEASON_COLOUR.get(label, 'bright_yellow'))} ({how})"]
    if "season_change_step" in data:
        ends = f"over at {data['season_change_ends']} at the soonest" if "season_change_ends" in data else "held"
        lines.append(f"   Change: {data['season_change_step']}, {ends}")
    if "season_wanted" in data:
        lines.append(f"   The return asks for {data['season_wanted']}")
    return lines


def _device_lines(name: str, device: dict[str, Any]) -> list[str]:
    state = "unknown" if "on" not in device else "ON" if device["on"] else "off"
    colour = {"ON": "bright_green", "unknown": "bright_red"}.get(state)
    override = f" (override {device['override']})" if device["override"] != "auto" else ""
    since = f" since {'before ' * ('longer' in device)}{device['since']}" if "since" in device else ""
    lines = [f"   {name} is {styled(state, bold=True, fg=colour)}{since}{override}: {device['why']}"]
    counts = []
    if "run_hours" in device:
        counts.append(f"{device['run_hours']:.1f} h in {device['starts']} starts")
    if "may_change_at" in device:
        counts.append(f"may next switch at {device['may_change_at']}")
    if counts:
        lines.append(f"      {', '.join(counts)}")
    return lines


cli.common_verbs(group, shown)


def _history() -> None:
    from rockit.history.cli import history_verbs

    history_verbs(group)


group.load_later(_history, "history", "export")


@group.command()
@click.argument("which", type=click.Choice(["winter", "summer", "auto"]))
@click.pass_obj
def season(target: Target, which: str) -> None:
    """Go to winter or summer and stay there, or let the weather decide (auto).

    A change takes some minutes: the sources go off, both valves close, the other one opens. `status` says where it is.
    """
    cli.command(lambda plant: plant.set_season(which if which == "auto" else {"winter": 0, "summer": 1}[which]), target)


@group.command()
@click.argument("device")
@click.argument("how", type=click.Choice(["auto", "on", "off"]))
@click.pass_obj
def override(target: Target, device: str, how: str) -> None:
    """Switch DEVICE (boiler, chiller1, …) by hand, or give it back to the control (auto).

    The season, the minimum times and the protections hold all the same; frost protection heats also where the boiler
    is off by hand.
    """
    cli.command(lambda plant: plant.set_override(device, how), target)


@group.command("set", context_settings={"ignore_unknown_options": True})
@click.argument("name")
@click.argument("value")
@click.pass_obj
def set_(target: Target, name: str, value: str) -> None:
    """Change the setting NAME; `boiler settings` lists them. It counts at once, and after a restart.

    A curve is given as its break points: boiler set curve 10:100,70:70,81:37,82:36
    """
    cli.command(lambda plant: plant.set_setting(name, setting_value(value)), target)


def setting_value(text: str) -> Any:
    """A number, on or off, or break points. Raises click.BadParameter."""
    words = {"on": 1.0, "off": 0.0, "yes": 1.0, "no": 0.0}
    try:
        if ":" in text:
            return [[float(number) for number in point.split(":", 1)] for point in text.split(",")]
        return words[text] if text in words else float(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is no number, and no break points such as 10:100,70:70") from None


@group.command()
@click.option("--json", "as_json", is_flag=True, help="one JSON object: name and value")
@click.pass_obj
def settings(target: Target, as_json: bool) -> None:
    """List the settings with their limits."""
    from rockit.common.status import json_line

    with target.connect() as client:
        found = client.settings()
        known = {} if as_json else client.describe()["settings"]
    if as_json:
        click.echo(json_line(found))
        return
    width = max(map(len, found), default=0)
    for name, value in found.items():
        one = known.get(name, {})
        text = ",".join(f"{at:g}:{to:g}" for at, to in value) if isinstance(value, list) else f"{value:g}"
        limits = f"  [{one['low']:g} … {one['high']:g}]" if "low" in one else ""
        click.echo(f"{name:<{width}}  {styled(text, bold=True)} {one.get('unit', '')}{limits}  {one.get('text', '')}")


@group.command()
@click.pass_obj
def setpoint(target: Target) -> None:
    """Print the effective set point, as it is now."""
    with target.connect() as client:
        status = client.report_status()
    if "effective_setpoint" not in status:
        raise CommandError(Code.DEVICE_OFFLINE, "there is no set point yet; the daemon has just started")
    click.echo(f"{status['effective_setpoint']:.2f} {'°C' if status['unit'] == 'degC' else '°F'}")


@group.command(context_settings={"ignore_unknown_options": True})
@click.option("--outside-temp", type=float, help="outside temperature; absent: as it is now")
@click.option("--average", type=float, help="mean outside temperature of 96 h; absent: as it is now")
@click.option("--season", "which", type=click.Choice(["winter", "summer"]), help="absent: the present one")
@click.option("--wind-speed", type=float, help="with it, the wind chill of --outside-temp counts in winter")
@click.option("--json", "as_json", is_flag=True, help="one JSON object")
@click.pass_obj
def explain(
    target: Target, outside_temp: float | None, average: float | None, which: str | None, wind_speed: float | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Tell every step from the outside temperature to the set point.

    Where the daemon is not running and all is given, the config's start values count, and a note says so.
    """
    from rockit.boiler.explain import KEYS
    from rockit.common.errors import Unreachable
    from rockit.common.status import json_line

    try:
        with target.connect() as client:
            found = client.explain(outside_temp, average, which, wind_speed)
    except Unreachable:
        if outside_temp is None or which is None:
            raise
        found = _by_config(target, outside_temp, average, which, wind_speed)
        click.echo("note: the daemon is not running; this is by the start values of its config", err=True)
    if as_json:
        click.echo(json_line({key: found[key] for key in KEYS}))
        return
    for step in found["steps"]:
        click.echo(step)


def _by_config(
    target: Target, outside_temp: float, average: float | None, which: str, wind_speed: float | None
) -> dict[str, Any]:
    from rockit.boiler.config import BoilerConfig
    from rockit.boiler.curve import set_point
    from rockit.boiler.explain import explained
    from rockit.boiler.model import Season
    from rockit.boiler.windchill import wind_chill

    config = target.load(BoilerConfig)
    scale, settings_ = config.scale, config.start_settings()
    outside, season_ = scale.celsius(outside_temp), Season[which.upper()]
    if wind_speed is not None and season_ is Season.WINTER:
        outside = wind_chill(outside, scale.metres_per_second(wind_speed))
    mean = None if average is None else scale.celsius(average)
    return explained(set_point(settings_.rules(), outside, mean, season_), settings_, scale, season_, "given")


VALVE_SHARE = 0.8
"""A simulated valve takes so much of the time that the settings give it."""


@group.command()
@click.option("--days", type=click.FloatRange(0.01, 3660), default=365.0, show_default=True, help="days of weather")
@click.option("--seed", type=int, default=1, show_default=True, help="another seed is another year")
@click.option("--faults/--no-faults", default=True, show_default=True, help="whether things go wrong, at random")
@click.option("--lockout", type=float, metavar="MIN", help="mode_switch_lockout_time, where the config says by hand")
@click.option("--cold", is_flag=True, help="a cold site")
@click.pass_obj
def rehearse(target: Target, days: float, seed: int, faults: bool, lockout: float | None, cold: bool) -> None:
    """Run a year of weather through the config's control, in this computer, and report what came of it.

    Nothing real is touched: plant and weather are simulated, with the start settings of the config. Comfort, starts and
    hours show what a curve or a lockout would mean; forbidden states, short cycles and invented values must be 0, or
    the exit code is 1. A year takes about a minute.
    """
    import dataclasses

    from rockit.boiler.config import BoilerConfig
    from rockit.boiler.rehearsal import Rehearsal, told
    from rockit.boiler.simulators.climate import Climate
    from rockit.boiler.simulators.world import World
    from rockit.common.bar import bar

    config = target.load(BoilerConfig)
    plant_settings, site = config.start_settings(), config.site()
    if lockout is not None:
        plant_settings = dataclasses.replace(plant_settings, mode_switch_lockout_time=lockout)
    climate = Climate.cold(seed) if cold else Climate(seed)
    travel = VALVE_SHARE * plant_settings.valve_time
    world = World(seed=seed, chillers=len(site.chillers), climate=climate, travel=travel)
    rehearsal = Rehearsal(site, plant_settings, seed=seed, faults=faults, world=world)
    with bar() as progress:
        report = rehearsal.run(days, lambda part: progress("rehearsing", round(part * 1000), 1000))
    for line in told(report, config.scale):
        click.echo(line)
    click.echo(f"assumed: valves that take {travel:.0f} s, less than valve_time ({plant_settings.valve_time:g} s)")
    if report.violations:
        raise click.exceptions.Exit(1)


def main() -> NoReturn:
    """Entry point of `boiler`."""
    cli.run(group, "boiler")
