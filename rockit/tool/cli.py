# SPDX-License-Identifier: GPL-3.0-or-later
"""rockit: what concerns all daemons: list them, call them, check configs, simulate devices, find ports."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import click

from rockit.boiler.simulators import SIMULATORS as BOILERS
from rockit.chiller.simulators import SIMULATORS as CHILLERS
from rockit.common import cli
from rockit.common.errors import CONFIG_ERROR, CommandError, ConfigError, Unreachable
from rockit.meter.simulators import SIMULATORS as METERS

if TYPE_CHECKING:
    from rockit.common.remote.client import Client

MODELS = {"chiller": ("t257p", CHILLERS), "boiler": ("lochinvar", BOILERS), "meter": ("sml", METERS)}
"""Kind of device -> the model that is simulated when none is named, and all of them."""
PLANT = "plant"
"""All of a boiler plant together."""
CONTROL_TIMEOUT = 5.0


@click.group(cls=cli.Verbs, context_settings={"help_option_names": ["-h", "--help"]})
def group() -> None:
    """Tools for all daemons of a site. Each device has a command line of its own, too: chiller."""


@group.command("list")
@click.option("--json", "as_json", is_flag=True, help="one line of JSON")
@click.option(
    "--timeout", default=2.0, show_default=True, type=click.FloatRange(0.1, 60), help="seconds to wait for each"
)
def list_(as_json: bool, timeout: float) -> None:
    """Show every daemon of the registry: whether it answers, how old its reading is, its alarms."""
    from rockit.tool.survey import survey, table

    found = survey(timeout)
    if as_json:
        from rockit.common.status import json_line

        click.echo(json_line(found))
        return
    for line in table(found):
        click.echo(line)


@group.command()
@click.option(
    "--interval", default=2.0, show_default=True, type=click.FloatRange(0.5, 3600), help="seconds between looks"
)
@click.option("--count", type=click.IntRange(1), help="stop after so many looks")
def top(interval: float, count: int | None) -> None:
    """The list, live, until Ctrl-C."""
    from rockit.common.watch import live
    from rockit.tool.survey import survey, table

    live(lambda: list(table(survey(interval))), interval, count)


@group.command(context_settings={"ignore_unknown_options": True})
@click.argument("daemon")
@click.argument("method", required=False)
@click.argument("arguments", nargs=-1)
@click.option("--timeout", type=click.FloatRange(0.1, 3600), help="seconds to wait; default: the registry's")
def call(daemon: str, method: str | None, arguments: tuple[str, ...], timeout: float | None) -> None:
    """Call METHOD of DAEMON with ARGUMENTS; without a METHOD, print the signatures of all.

    An argument is read as JSON (3, 4.5, true, null, "text", [1, 2]); what is not JSON is taken as text.
    """
    from rockit.common import registry
    from rockit.common.status import json_line
    from rockit.common.tables import method_lines

    target = registry.find(daemon)
    with target.connect(timeout) as client:
        known = _methods(client)
        if method is None:
            if known is None:
                raise click.ClickException(f"{daemon} does not describe itself; name one of its methods")
            for line in method_lines(known):
                click.echo(line)
            return
        if known is not None and method not in known:
            raise click.UsageError(f"{daemon} has no method {method!r}; it has {', '.join(sorted(known))}")
        values = [_value(text) for text in arguments]
        if known is not None and known[method]["class"] == "operate":
            code = client.command(method, *values)
            cli.finish(code, client.message)
        else:
            # Of a method that nothing is known of, it is not known either that asking twice does no harm.
            click.echo(json_line(client.call(method, *values, retry=known is not None)))


def _methods(client: Client) -> dict[str, dict[str, str]] | None:
    """Name -> signature, docstring, class; None for a daemon of another package, which does not describe itself."""
    try:
        methods: dict[str, dict[str, str]] = client.describe()["methods"]
    except Unreachable:
        raise
    except CommandError:
        return None
    return methods


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return {"True": True, "False": False, "None": None}.get(text, text)


@group.command()
@click.argument("configs", nargs=-1, required=True, metavar="CONFIG...")
@click.option(
    "--kind",
    type=click.Choice(["chillerd", "boilerd", "meterd", "registry"]),
    help="what the file is for; guessed when left out",
)
def check(configs: tuple[str, ...], kind: str | None) -> None:
    """Check config files and registries; list everything that is wrong. Exit 0 or 78."""
    from rockit.tool.check import check_file

    failed = False
    for path in configs:
        try:
            click.echo(f"{path}: {check_file(path, kind)}")
        except ConfigError as error:
            failed = True
            click.echo(f"error: {error}", err=True)
    if failed:
        sys.exit(CONFIG_ERROR)


@group.command()
@click.argument("kind", type=click.Choice(sorted([*MODELS, PLANT])))
@click.option(
    "--link",
    required=True,
    type=click.Path(),
    help="where to put the port: a link to a pseudo terminal; of a plant: a folder",
)
@click.option(
    "--model",
    "--kind",
    "model",
    help="which one: " + "; ".join(f"of a {kind}, {', '.join(known)}" for kind, (_, known) in MODELS.items()),
)
@click.option("--replay", metavar="FILE", help="of a meter: send what was captured in FILE, at the speed of its line")
@click.option("--set", "options", multiple=True, metavar="KEY=VALUE", help="an option of the model, e.g. ambient=4")
@click.option("--fault", "faults", multiple=True, metavar="NAME[:VALUE]", help="a fault that is on from the start")
@click.option(
    "--speed", default=1.0, show_default=True, type=click.FloatRange(0.01, 10000), help="simulated seconds a second"
)
def simulate(
    kind: str, link: str, model: str | None, replay: str | None, options: tuple[str, ...], faults: tuple[str, ...],
    speed: float,
) -> None:  # fmt: skip
    """Simulate a device on a pseudo terminal at PATH until Ctrl-C.

    While it runs, `rockit fault PATH` lists its faults and switches them. A `plant` is a boiler, a relay board, 1-wire
    sensors and a weather server in the folder PATH, around one loop of water; PATH/boiler.json has the keys of a
    boilerd config that lead there.
    """
    import time
    from urllib.parse import quote

    from rockit.common import simulate as simulation
    from rockit.common.simulate_control import SimulatorError
    from rockit.common.simulate_pty import serve

    if kind == PLANT:
        _simulate_plant(link, speed, options)
        return
    usual, known = MODELS[kind]
    if replay is not None:
        if kind != "meter" or model is not None:
            raise click.UsageError("--replay is for `simulate meter`, and names no --kind")
        model, options = "capture", (*options, f"path={replay}")
    model = model or usual
    if model not in known:
        raise click.UsageError(f"there is no {kind} {model!r} to simulate; there is {', '.join(known)}")
    simulation.register(model, known[model])
    query = [f"{quote(key)}={quote(value)}" for key, _, value in (option.partition("=") for option in options)]
    query += [f"fault={quote(fault)}" for fault in faults]
    url = f"sim://{model}" + (f"?{'&'.join(query)}" if query else "")
    try:
        device = simulation.create(url, time.monotonic())
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    try:
        serve(device, link, speed=speed, ready=lambda: click.echo(f"simulating {model} at {link}; Ctrl-C ends it"))
    except SimulatorError as error:
        raise click.ClickException(str(error)) from None


def _simulate_plant(folder: str, speed: float, options: tuple[str, ...]) -> None:
    from rockit.boiler.simulators.site import serve_site
    from rockit.common.simulate_control import SimulatorError

    given: dict[str, Any] = {}
    for option in options:
        key, _, text = option.partition("=")
        try:
            given[key] = text if key == "start" else int(text) if key in ("chillers", "seed") else float(text)
        except ValueError:
            raise click.UsageError(f"{key} must be a number, not {text!r}") from None
    try:
        serve_site(folder, speed, given, lambda config: click.echo(f"simulating a plant, see {config}; Ctrl-C ends it"))
    except (ValueError, TypeError) as error:
        raise click.UsageError(str(error)) from None
    except SimulatorError as error:
        raise click.ClickException(str(error)) from None


@group.command()
@click.argument("link", type=click.Path())
@click.argument("name", required=False)
@click.argument("value", nargs=-1)
def fault(link: str, name: str | None, value: tuple[str, ...]) -> None:
    """Switch fault NAME of the simulator at LINK: VALUE on (default), off, once, an argument, or once and an argument.

    Without NAME: list them.
    """
    from rockit.common.simulate_control import SimulatorError, control

    try:
        if name is not None:
            answer = control(link, f"fault {name} {' '.join(value) or 'on'}", CONTROL_TIMEOUT)
            if answer.startswith("error"):
                raise click.UsageError(answer.removeprefix("error: "))
            return
        for known, state in json.loads(control(link, "faults", CONTROL_TIMEOUT)).items():
            shown = "" if state["value"] == "off" else cli.styled(f"  [{state['value']}]", fg="bright_red")
            click.echo(f"{known:<14} {state['description']}{shown}")
    except SimulatorError as error:
        raise click.ClickException(str(error)) from None


@group.command()
@click.option("--probe", metavar="PORT", help="ask the device at PORT who it is, with each driver; sends bytes to it")
@click.option("--driver", "only", help="probe with this driver only")
def discover(probe: str | None, only: str | None) -> None:
    """List the serial ports of this machine with names that stay, and the daemons that answer on it."""
    from rockit.tool.discover import discovered, probed

    lines = probed(probe, only) if probe else discovered()
    for line in lines:
        click.echo(line)


def _history() -> None:
    from rockit.tool.history import group as history

    group.add_command(history)


group.load_later(_history, "history")
cli.completion_verb(group)


def main() -> NoReturn:
    """Entry point of `rockit`."""
    cli.run(group, "rockit")
