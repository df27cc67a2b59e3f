# SPDX-License-Identifier: GPL-3.0-or-later
"""meter: the command line of a meter daemon."""

from __future__ import annotations

import re
from typing import Any, NoReturn

import click

from rockit.common import cli
from rockit.common.cli import Target, styled
from rockit.common.status import age_text

_AMOUNT = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(Wh|kWh|MWh)?", re.ASCII)
_TOLD = {"power", "import_energy", "export_energy", "1-0:16.7.0*255", "1-0:1.8.0*255", "1-0:2.8.0*255"}
"""Registers that stand in lines of their own."""
_FACTORS = {"Wh": 1, "kWh": 1000, "MWh": 1_000_000}


group = cli.device_group(
    "meterd",
    "Look at electricity meters through their daemon, meterd, and at telegrams in files.",
    "11 out of range, 12 meter offline",
)


def amount(value: float, unit: str) -> str:
    """A number for people: energy in kWh, large power in kW, the rest as it is."""
    if unit == "Wh":
        return f"{value / 1000:,.3f} kWh".replace(",", " ")
    if unit == "W" and abs(value) >= 10_000:
        return f"{value / 1000:.2f} kW"
    text = f"{value}" if isinstance(value, int) else f"{value:g}" if abs(value) < 1e5 else f"{value:.0f}"
    return f"{text} {unit}".rstrip()


def shown(data: dict[str, Any]) -> list[str]:
    """The lines of a status, for people."""
    lines = [f"Meters at {styled(data['date'], bold=True)}:"]
    for name, meter in data["meters"].items():
        lines += _meter_lines(name, meter)
    if data.get("alarms"):
        lines.append(f"Alarms: {styled(', '.join(data['alarms']), fg='bright_red')}")
    return lines


def _meter_lines(name: str, meter: dict[str, Any]) -> list[str]:
    note = f" ({meter['note']})" if "note" in meter else ""
    state = styled("heard", fg="bright_green") if meter["connected"] else styled("OFFLINE", bold=True, fg="bright_red")
    lines = [f"{styled(name, bold=True)}{note}: {state}"]
    if "server_id" in meter:
        lines.append(f"   Server id is {meter['server_id']}")
    if not meter["connected"]:
        lines.append(f"   Cause: {meter['offline_because']}")
        age = age_text(meter["reading_age"]) if "reading_age" in meter else None
        lines.append("   No reading was ever good" if age is None else f"   The last good reading is {age} old")
    if "power" in meter:
        way = " (export)" if meter["power"] < 0 else ""
        lines.append(f"   Power is {styled(amount(meter['power'], 'W'), bold=True)}{way}")
    for key, text in (("import_energy", "Import is"), ("export_energy", "Export is")):
        if key in meter:
            lines.append(f"   {text} {styled(amount(meter[key], 'Wh'), bold=True)}")
    for key, one in meter["values"].items():
        if key in _TOLD:
            continue
        value = one["value"]
        text = amount(value, one["unit"]) if isinstance(value, int | float) and value is not True else str(value)
        label = "" if one["label"] == key else f"  {one['label']}"
        lines.append(f"   {key:<22} {text}{label}")
    if meter["pin_locked"]:
        lines.append("   Shows whole kWh and no power until its PIN is entered and the extended data is switched on")
    lines.append(f"   {_quality(meter)}")
    return lines


def _quality(meter: dict[str, Any]) -> str:
    parts = [f"{meter['frames']} telegrams", f"{meter['crc_errors']} with a wrong checksum"]
    parts.append(f"{meter['bytes_lost']} bytes lost")
    if "period" in meter:
        parts.append(f"one each {meter['period']:g} s")
    if meter["restarts"]:
        parts.append(f"the meter restarted {meter['restarts']} times")
    if meter["connected"] and "reading_age" in meter:
        parts.append(f"the last {age_text(meter['reading_age'])} ago")
    return ", ".join(parts)


cli.common_verbs(group, shown)


def _history() -> None:
    from rockit.history.cli import history_verbs

    history_verbs(group)


group.load_later(_history, "history", "export")


@group.command()
@click.argument("meter")
@click.option("--by", type=click.Choice(["hour", "day", "week", "month", "year"]), default="day", show_default=True)
@click.option("--since", help="from the period of this time on: an age (30d), a date (2026, 2026-11, 2026-11-21)")
@click.option("--until", help="up to the period of this time; absent: now")
@click.option("--json", "as_json", is_flag=True, help="one JSON object, energies in Wh, times in UTC")
@click.pass_obj
def energy(target: Target, meter: str, by: str, since: str | None, until: str | None, as_json: bool) -> None:
    """Show what flowed through METER by hour, day, week, month or year, and what it cost.

    Days begin at the site's midnight. What flowed while nobody read the meter is shown as a gap, and in no period.
    """
    with target.connect() as client:
        found = client.call("energy", meter, by, since, until)
    if as_json:
        from rockit.common.status import json_line

        click.echo(json_line(found))
        return
    from rockit.meter.energytable import energy_lines

    for line in energy_lines(found):
        click.echo(line)


@group.command("set-reading")
@click.argument("meter")
@click.argument("register")
@click.argument("value")
@click.pass_obj
def set_reading(target: Target, meter: str, register: str, value: str) -> None:
    """Align counter REGISTER of METER with its display: VALUE with its unit, as 12345.6kWh.

    Needed for pulses, whose count knows nothing of the meter's display. REGISTER is a name (import_energy) or an OBIS
    code (1.8.0). What flowed before is not changed by it.
    """
    watt_hours = _watt_hours(value)
    cli.command(lambda client: client.command("set_reading", meter, register, watt_hours), target)


@group.command()
@click.argument("meter")
@click.option("--final", multiple=True, metavar="REGISTER=VALUE", help="where a counter of the old meter ended")
@click.option("--first", multiple=True, metavar="REGISTER=VALUE", help="where a counter of the new meter began")
@click.option("--comment", default="", help="why, or by whom")
@click.pass_obj
def replace(target: Target, meter: str, final: tuple[str, ...], first: tuple[str, ...], comment: str) -> None:
    """Say that METER was replaced by another, so that energies go on where the new one begins.

    The slip of who replaced it has both readings: --final import_energy=12345.6kWh --first import_energy=0.2kWh.
    """
    ends, begins = _readings(final), _readings(first)
    cli.command(lambda client: client.command("replace", meter, ends, begins, comment), target)


@group.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--protocol", type=click.Choice(["sml", "d0", "p1"]), help="absent: the one that it looks like")
@click.option("--json", "as_json", is_flag=True, help="a JSON object a line, as the docs describe them")
def decode(file: str, protocol: str | None, as_json: bool) -> None:
    """Show the telegrams in FILE (- for standard input), as bytes or as hex: what came from a head, as it came.

    Needs no daemon.
    """
    from rockit.meter.decode import decoded_lines, read_capture

    with click.open_file(file, "rb") as stream:
        data = read_capture(stream.read())
    for line in decoded_lines(data, protocol, as_json=as_json):
        click.echo(line)


def _watt_hours(text: str) -> float:
    found = _AMOUNT.fullmatch(text.strip())
    if found is None:
        raise click.UsageError(f"{text!r} is no reading; write a number with its unit, as 12345.6kWh or 12345600Wh")
    if found[2] is None:
        raise click.UsageError(f"is {text} a number of kWh or of Wh? Write {text}kWh or {text}Wh")
    from decimal import Decimal

    return float(Decimal(found[1]) * _FACTORS[found[2]])


def _readings(given: tuple[str, ...]) -> dict[str, float]:
    found: dict[str, float] = {}
    for text in given:
        name, is_there, value = text.partition("=")
        if not is_there or not name:
            raise click.UsageError(f"{text!r} must be REGISTER=VALUE, as import_energy=12345.6kWh")
        found[name] = _watt_hours(value)
    return found


def main() -> NoReturn:
    """Entry point of `meter`."""
    cli.run(group, "meter")
