# SPDX-License-Identifier: GPL-3.0-or-later
"""chiller: the command line of a chiller daemon."""

from __future__ import annotations

from typing import Any, NoReturn

import click

from rockit.common import cli
from rockit.common.cli import Target, styled
from rockit.common.status import age_text

_STATUS_COLOUR = {"OFFLINE": "bright_red", "IDLE": "bright_yellow", "COOLING": "bright_cyan", "HEATING": "bright_red"}


group = cli.device_group(
    "chillerd",
    "Look at and command a chiller through its daemon, chillerd.",
    "10 not in manual mode, 11 out of range, 12 chiller offline, 13 chiller refused, 14 held by a protection",
)


def shown(data: dict[str, Any]) -> list[str]:
    """The lines of a status, for people."""
    label = data["status_label"]
    when = "Data received" if data["connected"] else "No data at"
    lines = [
        f"{when} {styled(data['date'], bold=True)}:",
        f"   Chiller is {styled(label, bold=True, fg=_STATUS_COLOUR.get(label))}",
        f"   Mode is {styled(data['mode_label'], bold=True)}",
    ]
    if "offline_because" in data:
        lines.append(f"   Cause: {data['offline_because']}")
    if not data["connected"]:
        age = age_text(data["reading_age"]) if "reading_age" in data else None
        last = "none was ever read" if age is None else f"the last good reading is {age} old"
        lines.append(f"   No current readings: {last}")

    def value(key: str, text: str, form: str) -> None:
        if key in data:
            lines.append(f"   {text} {styled(form.format(data[key]), bold=True)}")

    value("water_temp", "Temperature is", "{:.1f}°C")
    value("setpoint_temp", "Set point is", "{:.1f}°C")
    value("tec_power", "TEC power is", "{}%")
    if "requested_setpoint" in data and data.get("setpoint_temp") != data["requested_setpoint"]:
        held = f", held by {data['setpoint_held']}" if "setpoint_held" in data else ""
        lines.append(f"   Requested set point is {data['requested_setpoint']:.1f}°C{held}")
    value("ambient_temp", "Ambient temperature is", "{:.1f}°C")
    value("dome_temp", "Dome temperature is", "{:.1f}°C")
    value("dew_point", "Dew point is", "{:.1f}°C")
    value("flow", "Flow is", "{:.1f} L/min")
    value("pressure", "Pressure is", "{:.0f} kPa")
    if "pump" in data:
        lines.append(f"   Pump is {styled('ON' if data['pump'] else 'OFF', bold=True)}")
    if data.get("channels_enabled"):
        lines.append(f"   Powered cameras: {', '.join(data['channels_enabled'])}")
    if "antifreeze_enabled" in data:
        lines.append(f"   Antifreeze is {'ACTIVE' if data['antifreeze_enabled'] else 'not active'}")
    if "why" in data:
        held = f"; held by {data['held']}" if "held" in data else ""
        lines.append(f"   Decision: {data['why']}{held}")
    if data.get("faults"):
        lines.append(f"   Faults: {styled(', '.join(data['faults']), fg='bright_red')}")
    if data.get("alarms"):
        lines.append(f"   Alarms: {styled(', '.join(data['alarms']), fg='bright_red')}")
    if data["connected"] and "reading_age" in data:
        lines.append(f"   Readings are {age_text(data['reading_age'])} old")
    return lines


cli.common_verbs(group, shown)


def _history() -> None:
    from rockit.history.cli import history_verbs

    history_verbs(group)


group.load_later(_history, "history", "export")


@group.command()
@click.argument("who", type=click.Choice(["auto", "manual"]))
@click.pass_obj
def mode(target: Target, who: str) -> None:
    """Let the daemon decide (auto), or take over (manual). What runs goes on running."""
    cli.command(lambda chiller: chiller.set_mode(1 if who == "auto" else 0), target)


@group.command()
@click.pass_obj
def enable(target: Target) -> None:
    """Start the chiller, in manual mode."""
    cli.command(lambda chiller: chiller.set_enabled(True), target)


@group.command()
@click.pass_obj
def disable(target: Target) -> None:
    """Put the chiller into standby, in manual mode."""
    cli.command(lambda chiller: chiller.set_enabled(False), target)


@group.command(context_settings={"ignore_unknown_options": True})
@click.argument("celsius", type=float)
@click.pass_obj
def setpoint(target: Target, celsius: float) -> None:
    """Ask for a set point in °C."""
    cli.command(lambda chiller: chiller.set_setpoint(celsius), target)


@group.command()
@click.pass_obj
def faults(target: Target) -> None:
    """Show the faults and warnings that the chiller itself reports."""
    with target.connect() as client:
        status = client.report_status()
    if "faults" not in status:
        raise click.exceptions.Exit(_offline(status))
    for fault in status["faults"]:
        click.echo(fault)
    if not status["faults"]:
        past = "; it reported an alarm, see `chiller alarms`" if "device_alarm" in status["alarms"] else ""
        click.echo(f"The chiller names no faults{past}.")


def _offline(status: dict[str, Any]) -> int:
    from rockit.common.errors import Code

    click.echo(f"error: the chiller is offline: {status.get('offline_because', 'no reading yet')}", err=True)
    return int(Code.DEVICE_OFFLINE)


def main() -> NoReturn:
    """Entry point of `chiller`."""
    cli.run(group, "chiller")
