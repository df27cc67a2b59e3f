# SPDX-License-Identifier: GPL-3.0-or-later
"""What all device command lines share: finding the daemon, the common verbs, errors as sentences, exit codes.

Light at start-up on purpose: rich and Pyro are imported by the commands that need them.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click
import msgspec

from rockit.common import config as configs
from rockit.common import registry
from rockit.common.errors import CONFIG_ERROR, USAGE_ERROR, Code, CommandError, ConfigError
from rockit.common.launch import open_streams

C = TypeVar("C", bound=msgspec.Struct)

if TYPE_CHECKING:
    from rockit.common.remote.client import UntypedClient as Client  # of whatever kind it is

INTERRUPTED = 130


class Named(msgspec.Struct, frozen=True):
    """All that a command line wants of a daemon's config."""

    daemon: str


class Target:
    """The daemon that this command line talks to; found when first needed, so that --help needs no config."""

    def __init__(self, kind: str, given: str | None) -> None:
        self._kind = kind
        self._given = given

    def load(self, cls: type[C]) -> C:
        """The daemon's whole config, for what can be said without it. Raises ConfigError."""
        return configs.load(configs.find(self._kind, self._given), cls)

    def connect(self) -> Client:
        """A client for the daemon that the config names. Raises ConfigError."""
        variable = f"{self._kind.upper()}_CONFIG_PATH"
        if self._given and os.environ.get(variable) not in (None, "", self._given):
            click.echo(f"note: {variable} is set and counts more than -c {self._given}", err=True)
        # Somebody who edits the config locks nobody out of the daemon, which goes on with the old one.
        named = configs.load(configs.find(self._kind, self._given), Named, others=True)
        client: Client = registry.find(named.daemon).connect()
        return client


def finish(code: int, message: str) -> None:
    """Print what a command came to, and exit with its code when it is not 0."""
    if code == 0:
        click.echo(message)
        return
    click.echo(f"error: {message}", err=True)
    sys.exit(code)


def command(client_call: Callable[[Client], int], target: Target) -> None:
    """Run one command of the daemon and finish with its code."""
    with target.connect() as client:
        code = client_call(client)
        finish(code, client.message)


class _ReaderLeftError(Exception):
    """Whoever read our output has gone."""


class _OutputLostError(Exception):
    """Our output cannot be written."""


class Verbs(click.Group):
    """A command line whose reader may leave: `chiller counters | head -1` is no failure, as click has it.

    Verbs that few commands need are loaded when one of them is named.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._later: dict[str, Callable[[], None]] = {}

    def load_later(self, load: Callable[[], None], *names: str) -> None:
        """`load` adds the verbs `names`; it is called when one of them is asked for."""
        self._later |= dict.fromkeys(names, load)

    def list_commands(self, context: click.Context) -> list[str]:
        """All verbs, loaded or not."""
        return sorted({*super().list_commands(context), *self._later})

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """A verb."""
        load = self._later.pop(name, None)
        if load is not None and name not in self.commands:
            load()
        return super().get_command(context, name)

    def invoke(self, context: click.Context) -> Any:
        """Run the verb, and see its output off."""
        try:
            result = super().invoke(context)
            sys.stdout.flush()
        except BrokenPipeError:
            raise _ReaderLeftError from None
        except OSError as error:
            raise _OutputLostError(error.strerror or str(error)) from None
        return result


def _options_first(arguments: list[str], group: click.Group) -> list[str]:
    """`chiller status -c clasp` means what `chiller -c clasp status` means."""
    if not any("-c" in parameter.opts for parameter in group.params):
        return arguments
    first: list[str] = []
    rest = list(arguments)
    for index, word in enumerate(arguments):
        if word == "--":
            break
        if word in ("-c", "--config") and index + 1 < len(arguments):
            first, rest = arguments[index : index + 2], arguments[:index] + arguments[index + 2 :]
            break
        if word.startswith("--config="):
            first, rest = [word], arguments[:index] + arguments[index + 1 :]
            break
    return first + rest


def run(group: click.Group, program: str) -> NoReturn:
    """Run a command line: every expected error becomes a sentence on standard error and the right exit code."""
    open_streams()
    if not sys.argv[1:] and completion_variable(program) not in os.environ:
        with click.Context(group, info_name=program) as context:
            click.echo(context.get_help(), err=True)
        sys.exit(USAGE_ERROR)
    try:
        result = group.main(_options_first(sys.argv[1:], group), prog_name=program, standalone_mode=False)
        sys.exit(result if isinstance(result, int) else 0)
    except click.UsageError as error:
        error.show()
        sys.exit(USAGE_ERROR)
    except click.ClickException as error:
        error.show()
        sys.exit(1)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(INTERRUPTED)
    except ConfigError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(CONFIG_ERROR)
    except CommandError as error:
        click.echo(f"error: {error.message}", err=True)
        sys.exit(error.code)
    except (_OutputLostError, OSError) as error:
        click.echo(f"error: the output cannot be written: {error}; what was asked for may be done", err=True)
        os._exit(1)  # Python would try to write it once more
    except _ReaderLeftError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that the last flush finds somebody
        sys.exit(0)


def completion_variable(program: str) -> str:
    """The environment variable by which a shell asks for completions (click's protocol): `_CHILLER_COMPLETE`."""
    return f"_{program.upper().replace('-', '_')}_COMPLETE"


def wants_colour() -> bool:
    """Colour goes to terminals only, and not where NO_COLOR (no-color.org) or a dumb terminal says no."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def styled(text: str, **style: Any) -> str:
    """Text in colour or bold where the terminal may show it."""
    return click.style(text, **style) if wants_colour() else text


def shown_lines(shown: Callable[[dict[str, Any]], list[str]], status: Any) -> list[str]:
    """The lines of a status. Raises CommandError where it is no status of this kind of device."""
    try:
        return shown(status)
    except (KeyError, TypeError, AttributeError):
        text = "the daemon answers, but not with the status of such a device"
        raise CommandError(Code.FAILED, f"{text}; check `daemon` in the config, and the registry") from None


def device_group(daemon: str, does: str, codes: str) -> Verbs:
    """The command line of a device, still without verbs. `daemon` is the kind (`chillerd`), `does` what --help begins
    with, `codes` the exit codes between 3 and 64 that it has.
    """

    def remember(context: click.Context, config: str | None) -> None:
        context.obj = Target(daemon, config)

    found = f"by the config that {daemon.upper()}_CONFIG_PATH names, else by -c, else by the only one in /etc/{daemon}"
    return Verbs(
        name=daemon.removesuffix("d"),
        callback=click.pass_context(remember),
        help=f"{does}\n\nThe daemon is found {found}.",
        epilog=f"Exit codes: 0 done, 3 not from this machine, {codes}, 64 usage, 78 config, 155 daemon unreachable.",
        context_settings={"help_option_names": ["-h", "--help"]},
        params=[click.Option(["-c", "--config"], metavar="CONFIG", help=f"config file, or its name in /etc/{daemon}")],
    )


def common_verbs(group: click.Group, shown: Callable[[dict[str, Any]], list[str]]) -> None:
    """Add the verbs that every device has. `shown` gives the lines of a status, for `status` and `watch`."""

    @group.command()
    @click.pass_obj
    def status(target: Target) -> None:
        """Show the device's state now, for people."""
        with target.connect() as client:
            for line in shown_lines(shown, client.report_status()):
                click.echo(line)

    @group.command("json")
    @click.pass_obj
    def json_(target: Target) -> None:
        """Print the state as one line of JSON, for programs."""
        from rockit.common.status import json_line

        with target.connect() as client:
            click.echo(json_line(client.report_status()))

    @group.command()
    @click.option(
        "--interval", default=1.0, show_default=True, type=click.FloatRange(0.1, 3600), help="seconds between looks"
    )
    @click.option("--count", type=click.IntRange(1), help="stop after so many looks")
    @click.pass_obj
    def watch(target: Target, interval: float, count: int | None) -> None:
        """Show the state live until Ctrl-C."""
        if math.isnan(interval):
            raise click.BadParameter("must be a number of seconds", param_hint="--interval")
        from rockit.common.watch import watch as look

        look(target, shown, interval, count)

    @group.command()
    @click.pass_obj
    def alarms(target: Target) -> None:
        """List the alarms that are not normal."""
        from rockit.common.tables import alarm_lines

        with target.connect() as client:
            listing = client.alarms()
        for line in alarm_lines(listing):
            click.echo(line)

    @group.command()
    @click.argument("name")
    @click.argument("comment", nargs=-1)
    @click.pass_obj
    def acknowledge(target: Target, name: str, comment: tuple[str, ...]) -> None:
        """Say that alarm NAME was seen; what was given up because of it is tried again."""
        command(lambda client: client.acknowledge(name, " ".join(comment)), target)

    @group.command(context_settings={"ignore_unknown_options": True})  # so that -1 is a number
    @click.argument("name")
    @click.argument("seconds", type=float)
    @click.argument("comment", nargs=-1)
    @click.pass_obj
    def shelve(target: Target, name: str, seconds: float, comment: tuple[str, ...]) -> None:
        """Silence alarm NAME for SECONDS (0: no longer)."""
        command(lambda client: client.shelve(name, seconds, " ".join(comment)), target)

    @group.command()
    @click.pass_obj
    def describe(target: Target) -> None:
        """Show what the daemon is, measures and can do."""
        from rockit.common.tables import description_lines

        with target.connect() as client:
            description = client.describe()
        for line in description_lines(description):
            click.echo(line)

    @group.command()
    @click.pass_obj
    def counters(target: Target) -> None:
        """Show the daemon's counters since its start."""
        with target.connect() as client:
            found = client.counters()
        width = max(map(len, found), default=0)
        for name, number in found.items():
            click.echo(f"{name:<{width}}  {number}")

    completion_verb(group)


def completion_verb(group: click.Group) -> None:
    """Add the verb that prints the completion script of a shell."""

    @group.command()
    @click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
    @click.pass_context
    def completion(context: click.Context, shell: str) -> None:
        """Print the completion script for SHELL; `source <(… completion bash)` switches it on."""
        from click.shell_completion import get_completion_class

        name = context.find_root().info_name or group.name or ""
        completer = get_completion_class(shell)
        if completer is None:
            raise click.UsageError(f"no completion for {shell}")
        click.echo(completer(group, {}, name, completion_variable(name)).source())
