# SPDX-License-Identifier: GPL-3.0-or-later
"""rockit history: look after a store itself, not through its daemon. Light at start-up."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import click

from rockit.common.errors import Code, CommandError, ConfigError

if TYPE_CHECKING:
    from rockit.history.judging import Problem

_KINDS = ("chronos", "pyhm", "rrd", "history")
_LOCAL = ("chronos", "pyhm")
"""Recorded local time."""


class _Verbs(click.Group):
    """What a database or a disk says no to becomes a sentence."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except OSError as error:
            if error.filename is None or isinstance(error, BrokenPipeError):
                raise
            raise CommandError(Code.FAILED, f"{error.filename}: {error.strerror}") from None
        except Exception as error:
            database = sys.modules.get(
                "rockit.history.database"
            )  # slow to import, and without it there is no such error
            if database is None or not isinstance(error, database.StoreError):
                raise
            from rockit.history.places import advice

            raise CommandError(Code.FAILED, advice(error)) from None


@click.group("history", cls=_Verbs)
def group() -> None:
    """Look after a history: what it holds, whether it is whole, how small it can be, what is to come into it.

    STORE is a database URL, a file of SQLite, or a daemon's config (*.json), whose history is meant. Without STORE:
    that of the only config of this machine.

    \b
    rockit history stats /etc/chillerd/clasp.json
    rockit history check /var/lib/rockit/clasp_chiller/history.sqlite
    """


_store = click.argument("store", required=False)


@group.command()
@_store
@click.option("--json", "as_json", is_flag=True, help="one line of JSON")
def stats(store: str | None, as_json: bool) -> None:
    """Show what a history holds and how large it is.

    A line a series: first and last sample (* where of the first only roll-ups are left), samples, how many of them are
    sealed and how many bytes each of these takes, roll-ups of 15 min, and for how long there is nothing in between.

    \b
    rockit history stats
    rockit history stats postgresql+psycopg://rockit@db/rockit --json
    """
    from rockit.history.maintenance import stats as look
    from rockit.history.places import looking

    with looking(_url(store)) as database:
        found = look(database)
    if as_json:
        from rockit.common.status import json_line

        click.echo(json_line(found))
        return
    from rockit.tool.storetable import stats_lines

    for line in stats_lines(found):
        click.echo(line)


@group.command()
@_store
@click.option("--repair", is_flag=True, help="compute wrong roll-ups anew; put damaged blocks back that can be read")
def check(store: str | None, repair: bool) -> None:
    """Check that a history is whole: the file, every block, every roll-up against its samples. Exit 0 or 1.

    The daemon may go on recording meanwhile. Nothing is changed without --repair; with it, no sample is deleted.
    What cannot be repaired is told with what to do.

    \b
    rockit history check /etc/chillerd/clasp.json
    rockit history check --repair copy.sqlite
    """
    from rockit.common.bar import bar
    from rockit.history.checking import Checker
    from rockit.history.judging import What
    from rockit.history.places import looking, salvage, writing

    url = _url(store)

    kinds: set[What] = set()

    def tell(problem: Problem) -> None:
        click.echo(str(problem))
        kinds.add(problem.what)

    opening = writing(url) if repair else nullcontext()
    with opening as open_store, looking(url) as database, bar() as progress:
        checked = Checker(database, tell, _note, progress, store=open_store).run()
    counts = f"{checked.samples:,} samples and {checked.rollups:,} roll-ups of {checked.days:,} days of series"
    click.echo(f"checked {counts}")
    if checked.forgotten:
        click.echo(f"{checked.forgotten:,} roll-ups are older than all samples, and were not compared")
    if What.FILE in kinds and database.sqlite:
        _note(f"the file itself is damaged. {salvage(url)}")
    if not checked.problems:
        click.echo("no problems")
        return
    repaired = f", {checked.repaired} of them repaired" if repair else ""
    click.echo(f"{checked.problems} problem{'s' if checked.problems > 1 else ''}{repaired}")
    if checked.mendable:
        click.echo(f"{checked.mendable} can be repaired: rockit history check --repair {store or ''}".rstrip())
    if checked.remaining:
        sys.exit(int(Code.FAILED))


@group.command()
@_store
@click.option(
    "--keep-raw-days", "days", type=click.IntRange(1, 100_000), metavar="N",
    help="delete samples that are older than N days; their roll-ups and all events stay",
)  # fmt: skip
@click.option(
    "--drop-outbox",
    "place",
    metavar="SITE/DEVICE",
    help="delete what waits to be forwarded of a device that has been renamed or forwards no more; its samples stay",
)
@click.option("--yes", is_flag=True, help="delete without asking")
def vacuum(store: str | None, days: int | None, place: str | None, yes: bool) -> None:
    """Make a history as small as it can be: seal all finished days, give free room back to the disk.

    The daemon may run: while the file is written anew it keeps what it measures in memory. That needs free room
    of up to twice the size of the file.

    \b
    rockit history vacuum /etc/chillerd/clasp.json
    rockit history vacuum --keep-raw-days 3650 /etc/chillerd/clasp.json
    rockit history vacuum --drop-outbox clasp/old_name /etc/chillerd/clasp.json
    """
    from rockit.common.bar import bar
    from rockit.history import maintenance
    from rockit.history.places import forwards, looking, writing
    from rockit.history.store import wall_clock

    url, now = _url(store), wall_clock()
    with looking(url, older=True) as database:
        before = _size(database)
        samples, first, kept = maintenance.forgettable(database, days, now) if days is not None else (0, 0, 0)
        site, device = _place(place) if place is not None else ("", "")
        if place is not None and forwards(store) == (site, device):
            raise click.UsageError(f"{store} forwards {place}: what waits is sent; take its targets out first")
        posts, unsent = maintenance.waiting(database, site, device) if place is not None else (0, 0)
    if samples and not yes:
        _confirm(f"{samples:,} samples, from {_date(first)} to before {_date(kept)}", "Their roll-ups stay.")
    if posts and not yes:
        what = f"{posts:,} rows of the outbox of {place}, of which {unsent:,} were not sent to every target"
        _confirm(what, "They are never sent then; the samples stay here.")
    # What was asked for is done, even where a day ends meanwhile.
    with writing(url, lambda: now) as opened:
        dropped = maintenance.drop_outbox(opened, site, device) if posts else 0
        with bar() as progress:
            forgotten = maintenance.forget(opened, days, progress) if days is not None and samples else 0
            sealed = maintenance.seal(opened, progress)
            progress("writing anew", 0, 0)
            maintenance.compact(opened.database)
        if days is not None:
            click.echo(f"{samples:,} samples of {forgotten} days forgotten")
        if place is not None:
            click.echo(f"{dropped:,} row{'' if dropped == 1 else 's'} of the outbox of {place} dropped")
        click.echo(f"{sealed} days of series sealed")
        click.echo(f"{before} before, {_size(opened.database)} now")


def _size(database: Any) -> str:
    from rockit.history.maintenance import megabytes, size

    session = database.session()
    try:
        with session.reading():
            found = size(database, session)
    finally:
        session.close()
    return megabytes(found["bytes"] + found.get("wal_bytes", 0))


def _place(text: str) -> tuple[str, str]:
    site, found, device = text.rpartition("/")
    if not found or not device:
        raise click.BadParameter(
            f"{text!r} is not SITE/DEVICE, as `rockit history stats` shows it", param_hint="--drop-outbox"
        )
    return site, device


def _date(day: int) -> str:
    from rockit.history.model import DAY
    from rockit.history.times import iso

    return iso(day * DAY)[:10]


def _confirm(what: str, stays: str) -> None:
    if not sys.stdin.isatty():
        raise click.UsageError(f"this would delete {what}; say --yes where nobody can be asked")
    if not click.confirm(f"Delete {what}? {stays}", err=True):
        raise CommandError(Code.FAILED, "nothing was changed")


@group.command("import")
@click.argument("file")
@click.option("--into", "store", metavar="STORE", help="the history that it comes into")
@click.option("--site", metavar="SITE", help="the site that the values belong to")
@click.option("--device", metavar="DEVICE", help="the device (name of the daemon) that the values belong to")
@click.option("--kind", type=click.Choice(_KINDS), help="what FILE is; seen from its contents when left out")
@click.option("--time-zone", metavar="ZONE", help="that of the clock of Chronos or pyHM: Europe/Madrid")
@click.option(
    "--temperature-unit", type=click.Choice(["degC", "degF"]), default="degC", show_default=True,
    help="what the boiler's daemon uses (Chronos)",
)  # fmt: skip
@click.option("--meter", metavar="NAME", help="which meter, where FILE has several (pyHM)")
@click.option("--as-meter", metavar="NAME", help="into the series of meter NAME of a meterd (pyHM, RRD of PowerPi)")
@click.option("--scaler", "scalers", multiple=True, metavar="KEY=N", help="the meter's exponent of a key (pyHM)")
@click.option("--unit", "units", multiple=True, metavar="KEY=UNIT", help="the unit of a key (RRD)")
@click.option("--key", "keys", multiple=True, metavar="KEY", help="only this key (another history)")
@click.option("--from-device", "devices", multiple=True, metavar="NAME", help="only this device (another history)")
@click.option("--create", is_flag=True, help="begin the history if there is none")
@click.option("--dry-run", is_flag=True, help="tell what would come in, and write nothing")
def import_(
    file: str, store: str | None, site: str | None, device: str | None, kind: str | None, time_zone: str | None,
    temperature_unit: str, meter: str | None, scalers: tuple[str, ...], units: tuple[str, ...], keys: tuple[str, ...],
    devices: tuple[str, ...], create: bool, dry_run: bool, as_meter: str | None,
) -> None:  # fmt: skip
    """Bring in what another system has recorded.

    FILE is the SQLite file of Chronos or pyHM, an RRD as XML (rrdtool dump), or another history of rockit's: a copy, a
    file that was set aside, or a URL. What is there already stays as it is, so that it can be done again at any time,
    also beside a daemon that records. Of a damaged history all is taken that can be read; what cannot is told, and the
    exit code is 1.

    \b
    rockit history import chronos.db --site clasp --device clasp_boiler --time-zone Atlantic/Canary \\
        --into /etc/boilerd/clasp.json
    rockit history import history.sqlite.corrupt-20261121T101500Z --into /etc/chillerd/clasp.json
    """
    from rockit.common.bar import bar
    from rockit.history.imports import ImportProblem, Options, guess
    from rockit.history.places import mending
    from rockit.meter.config import name_problem
    from rockit.tool import bringing

    if as_meter is not None and (problem := name_problem(as_meter)):
        raise click.UsageError(f"--as-meter {as_meter}: {problem}")
    url = _url(store)
    options = Options(
        time_zone=time_zone, temperature_unit=temperature_unit, meter=meter,
        scalers={key: _whole(key, text) for key, text in _pairs("--scaler", scalers)},
        units=dict(_pairs("--unit", units)), devices=frozenset(devices), keys=frozenset(keys),
    )  # fmt: skip
    try:
        kind = kind or guess(file)
        if kind != "history" and not (site and device):
            raise click.UsageError(f"{file} ({kind}) does not say whose values these are: --site and --device")
        if kind in _LOCAL and time_zone is None:
            raise click.UsageError(f"{kind} recorded local time: --time-zone, such as Europe/Madrid or UTC")
        if kind == "history" and bringing.same(file, url):
            raise click.UsageError(f"{file} is the history itself")
        work = bringing.Work(file, url, site, device, kind, options, create, dry_run, as_meter)
        with bar() as progress:
            report = bringing.bring(work, progress, _note)
    except ImportProblem as error:
        raise CommandError(Code.FAILED, str(error)) from None
    for line in report.lines():
        click.echo(line)
    if report.unread:
        _note(f"not all of it is in. Perhaps there is a way to more: {mending(file)}")
        sys.exit(int(Code.FAILED))


def _pairs(option: str, given: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for text in given:
        key, found, value = text.partition("=")
        if not key or not found:
            raise click.BadParameter(f"{text!r} is not KEY=VALUE", param_hint=option)
        yield key, value


def _whole(key: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} for {key} is no whole number", param_hint="--scaler") from None


@group.command()
@click.argument("store")
@click.option("--listen", required=True, metavar="HOST:PORT", help="address to listen at: 0.0.0.0:8443, [::]:8443")
@click.option("--certificate", metavar="PEM", help="certificate of this machine, with those between it and the root")
@click.option("--key", metavar="PEM", help="its private key, where that is not in the same file")
@click.option("--token-file", required=True, metavar="FILE", help="who may send: lines `TOKEN SITE` (or `TOKEN`: all)")
@click.option("--insecure", is_flag=True, help="plain HTTP for others than this machine: where a proxy does TLS")
def receive(store: str, listen: str, certificate: str | None, key: str | None, token_file: str, insecure: bool) -> None:
    """Take in what the histories of other sites forward, until SIGTERM or Ctrl-C.

    STORE is begun where there is none. Each batch is answered when it is on the disk.

    \b
    openssl rand -hex 32   # a token; a line with it and the name of the site goes into the token file
    rockit history receive postgresql+psycopg:///rockit --listen 0.0.0.0:8443 \\
        --certificate /etc/rockit/server.pem --key /etc/rockit/server.key --token-file /etc/rockit/tokens
    """
    from rockit.common.errors import StartError
    from rockit.history.database import file_of
    from rockit.history.places import exists
    from rockit.history.receiver import serve

    host, _, number = listen.rpartition(":")
    if not host or not number.isdecimal() or int(number) > 65535:
        raise click.BadParameter(f"{listen!r} is not HOST:PORT, such as 0.0.0.0:8443", param_hint="--listen")
    if key is not None and certificate is None:
        raise click.UsageError("--key is of no use without --certificate")
    url = _url(store)
    path = file_of(url)
    if path is not None:
        if not path.parent.is_dir():
            raise CommandError(Code.FAILED, f"there is no folder {path.parent}")
        exists(url)  # or can be begun: it is no file of another program
    try:
        serve(
            url, host.removeprefix("[").removesuffix("]"), int(number), token_file=token_file, certificate=certificate,
            key=key, insecure=insecure, say=click.echo,
        )  # fmt: skip
    except StartError as error:
        raise CommandError(Code.FAILED, str(error)) from None


def _url(store: str | None) -> str:
    """The URL of the store that is meant. Raises ConfigError, click.UsageError."""
    from rockit.history.places import url_of

    try:
        return url_of(store if store is not None else _only_config())
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _only_config() -> str:
    """The config of the only daemon of this machine."""
    from rockit.common import config as configs
    from rockit.tool.check import KINDS

    found, problems = [], []
    for kind in KINDS:
        if kind != "registry":
            try:
                found.append(str(configs.find(kind)))
            except ConfigError as error:
                problems.append(str(error).partition("; name one with")[0])
    if len(found) != 1:
        why = f"several daemons have one: {', '.join(found)}" if found else "; ".join(problems)
        raise click.UsageError(f"which STORE? Name a database URL, a file of SQLite or a daemon's config ({why})")
    return found[0]


def _note(text: str) -> None:
    click.echo(f"note: {text}", err=True)
