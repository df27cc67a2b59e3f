# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import math
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from rockit.history.imports import ImportProblem, Options, Report, guess, import_file
from rockit.history.imports.base import MOST
from rockit.history.model import Event, Samples, Series
from rockit.history.store import Store

RRDTOOL = shutil.which("rrdtool")
needs_rrdtool = pytest.mark.skipif(RRDTOOL is None, reason="rrdtool is not installed (apt install rrdtool)")
START = 1_489_999_980
"""A multiple of 60 s, in March 2017."""
POWERPI = ["DS:power:GAUGE:90:U:U", "RRA:AVERAGE:0.5:1:720", "RRA:AVERAGE:0.5:6:1440", "RRA:AVERAGE:0.5:6:2880"]
POWERPI += ["RRA:AVERAGE:0.5:12:10080"]
HEAD = '<?xml version="1.0" encoding="utf-8"?>\n<!DOCTYPE rrd SYSTEM "https://oss.oetiker.ch/rrdtool/rrdtool.dtd">\n'


class Recording:
    def __init__(self) -> None:
        self.runs: list[tuple[Series, Samples]] = []

    def merge(self, series: Series, samples: Samples) -> int:
        self.runs.append((series, samples))
        return len(samples)

    def add_events(self, site: str, device: str, events: Sequence[Event]) -> int:
        raise AssertionError("an RRD has no events")

    def series(self) -> dict[int, Series]:
        return {}

    def rows(self, key: str = "power") -> dict[int, float]:
        """Time in s -> value."""
        found = {}
        for series, samples in self.runs:
            for time, value, quality in samples.rows():
                assert (time % 1000, quality) == (0, 0)
                if series.key == key:
                    found[time // 1000] = value
        return found


def take(path: Path, **options: Any) -> tuple[Recording, Report]:
    target = Recording()
    return target, import_file(path, target, "site", "meter", options=Options(**options))


def rrdtool(*arguments: object) -> str:
    assert RRDTOOL is not None
    done = subprocess.run([RRDTOOL, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=True)
    return done.stdout


def made(
    folder: Path,
    seconds: int,
    power: Callable[[int], str],
    layout: Sequence[str] = POWERPI,
    *,
    form: str = "dtd",
) -> Path:
    """An RRD that was fed for so long, as `rrdtool dump` prints it."""
    rrd = folder / "power.rrd"
    rrdtool("create", rrd, "--start", START, "--step", 5, *layout)
    updates = [f"{START + second}:{power(second)}" for second in range(5, seconds + 1, 5)]
    for begin in range(0, len(updates), 1000):
        rrdtool("update", rrd, *updates[begin : begin + 1000])
    path = folder / "power.xml"
    path.write_text(rrdtool("dump", "-h", form, rrd))
    return path


def fetched(rrd: Path, function: str, res: int, start: int, end: int) -> dict[int, float]:
    """What rrdtool itself says."""
    found = {}
    for line in rrdtool("fetch", rrd, function, "-r", res, "-s", start, "-e", end).splitlines()[2:]:
        time, _, value = line.partition(":")
        if not math.isnan(float(value)):
            found[int(time)] = float(value)
    return found


def xml(*archives: str, step: object = 5, updated: object = START + 300, sources: str = "", head: str = HEAD) -> str:
    sources = sources or "<ds><name> power </name><type> GAUGE </type><min>NaN</min></ds>"
    times = f"<step>{step}</step><lastupdate>{updated}</lastupdate>"
    return f"{head}<rrd><version>0003</version>{times}{sources}{''.join(archives)}</rrd>"


def archive(pdp: object, values: Sequence[object], function: str = "AVERAGE") -> str:
    rows = "".join(f"<!-- then --> <row><v> {value} </v></row>\n" for value in values)
    prepared = "<cdp_prep><ds><primary_value>1</primary_value><value>7</value></ds></cdp_prep>"
    return f"<rra><cf>{function}</cf><pdp_per_row>{pdp}</pdp_per_row>{prepared}<database>{rows}</database></rra>"


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "dump.xml"
    path.write_text(text)
    return path


@needs_rrdtool
@pytest.mark.parametrize("form", ["dtd", "xsd", "none"])
def test_an_hour_of_powerpi_comes_at_five_seconds(tmp_path: Path, form: str) -> None:
    path = made(tmp_path, 1800, lambda second: f"{100 + second / 10}", form=form)
    assert guess(path) == "rrd"
    found, report = take(path)
    assert [series for series, _ in found.runs] == [Series("site", "meter", "power", "W", "Power")]
    assert found.rows() == {START + second: 100 + second / 10 for second in range(5, 1801, 5)}
    assert report.rows == 720 + 1440 + 2880 + 10080
    assert report.taken == 360
    coarser = 60 + 60 + 30
    assert report.left_out == {
        "coarser than what a finer archive has of the same time": coarser,
        "unknown (NaN)": report.rows - 360 - coarser,
    }


@needs_rrdtool
def test_two_days_come_from_the_finest_archive_that_reaches_back(tmp_path: Path) -> None:
    """The whole of it equals what rrdtool fetches, each time from the archive that it should come from."""
    path = made(tmp_path, 2 * 86_400, lambda second: f"{(second * 7919) % 4001}")
    rrd = tmp_path / "power.rrd"
    found, report = take(path)
    rows = found.rows()
    end = START + 2 * 86_400
    fine, middle, coarse = end - 3600, end - 86_400, START
    wanted = fetched(rrd, "AVERAGE", 60, coarse, middle - 60)
    wanted |= fetched(rrd, "AVERAGE", 30, middle, fine - 30)
    wanted |= fetched(rrd, "AVERAGE", 5, fine, end - 5)
    assert set(rows) == set(wanted)
    assert all(rows[time] == pytest.approx(wanted[time], rel=1e-9) for time in wanted)
    steps = [after - before for before, after in zip(sorted(rows), sorted(rows)[1:], strict=False)]
    assert [steps.count(step) for step in (60, 30, 5)] == [1440 - 1, 2 * 23 * 60, 720]
    assert any("averages over 5 s, 30 s, 60 s" in note for note in report.notes)
    assert report.taken + report.left_out.total() == report.rows


@needs_rrdtool
def test_what_is_unknown_gives_no_sample(tmp_path: Path) -> None:
    path = made(tmp_path, 600, lambda second: "U" if 200 < second <= 400 else "1")
    found, _ = take(path)
    assert set(found.rows()) == {START + second for second in range(5, 601, 5) if not 200 < second <= 400}


@needs_rrdtool
def test_an_rrd_itself_is_refused_with_the_way_out(tmp_path: Path) -> None:
    made(tmp_path, 60, lambda second: "1")
    with pytest.raises(ImportProblem, match=r"rrdtool dump .*power\.rrd .*power\.rrd\.xml"):
        guess(tmp_path / "power.rrd")


@needs_rrdtool
def test_several_sources_extremes_and_counters(tmp_path: Path) -> None:
    layout = ["DS:power:GAUGE:90:U:U", "DS:pulses:COUNTER:90:U:U", "RRA:MAX:0.5:12:10", "RRA:AVERAGE:0.5:1:30"]
    path = made(tmp_path, 120, lambda second: f"{second}:{second * 20}", layout)
    found, report = take(path, units={"pulses": "1 / s"})
    assert found.rows() == {START + second: float(second) for second in range(5, 121, 5)}
    assert found.rows("pulses") == {START + second: 20.0 for second in range(10, 121, 5)}
    assert {series.key: series.unit for series, _ in found.runs} == {"power": "W", "pulses": "1 / s"}
    assert report.left_out["of an archive of MAX values; taken are those of AVERAGE"] == 4
    assert any("pulses is of type COUNTER" in note for note in report.notes)
    assert not any("does not say units" in note for note in report.notes)


@needs_rrdtool
def test_a_later_dump_adds_what_is_new_and_nothing_twice(tmp_path: Path) -> None:
    path = made(tmp_path, 7200, lambda second: "100")
    with Store(f"sqlite:///{tmp_path}/history.sqlite") as store:
        first = import_file(path, store, "site", "meter")
        second = import_file(path, store, "site", "meter")
        rrd = tmp_path / "power.rrd"
        rrdtool("update", rrd, *[f"{START + 7200 + more}:200" for more in range(5, 601, 5)])
        path.write_text(rrdtool("dump", rrd))
        third = import_file(path, store, "site", "meter")
    assert (first.taken, first.new) == (720 + 120, 840)
    assert (second.taken, second.new) == (840, 0)
    assert third.new == 120
    assert third.taken == 720 + 140


def test_a_dump_by_hand(tmp_path: Path) -> None:
    fine = archive(1, [*["NaN"] * 2, 1.5, "-NaN", 2.5, "3,5", "inf"])
    coarse = archive(6, range(10, 20))
    found, report = take(written(tmp_path, xml(fine, coarse)))
    updated = START + 300
    # The finest begins to know at 285 s: its value is that of 280 to 285, and 270 is the last coarse one before.
    assert found.rows() == {
        updated - 20: 1.5, updated - 10: 2.5,
        **{updated - 30 * (9 - number): 10.0 + number for number in range(9)},
    }  # fmt: skip
    assert report.left_out == {
        "unknown (NaN)": 3,
        "it is no number": 2,
        "coarser than what a finer archive has of the same time": 1,
    }
    assert report.rows == 17


def test_without_averages_the_last_and_then_the_extremes_are_taken(tmp_path: Path) -> None:
    last, most, least = archive(1, [1], "LAST"), archive(1, [2], "MAX"), archive(1, [3], "MIN")
    for archives, value, label in (
        ([least, most, last], 1.0, "Power, last of each interval"),
        ([least, most], 2.0, "Power, greatest"),
        ([least], 3.0, "Power, least"),
    ):
        found, report = take(written(tmp_path, xml(*archives)))
        assert [(series.label, samples.values) for series, samples in found.runs] == [(label, [value])]
        assert report.left_out.total() == len(archives) - 1
    with pytest.raises(ImportProblem, match="no archive of values"):
        take(written(tmp_path, xml(archive(1, [1], "HWPREDICT"))))


def test_times_of_a_clock_that_was_not_set_are_left_out(tmp_path: Path) -> None:
    found, report = take(written(tmp_path, xml(archive(1, [1, 2]), updated=1000)))
    assert not found.runs
    assert report.left_out == {"its time cannot be one": 2}


def test_rows_of_the_wrong_length_are_counted(tmp_path: Path) -> None:
    two = "<ds><name>a</name><type>GAUGE</type></ds><ds><name>b</name><type>GAUGE</type></ds>"
    rows = "<row><v>1</v></row><row><v>1</v><v>2</v><v>3</v></row><row><v>4</v><v>5</v></row>"
    text = f"<rra><cf>AVERAGE</cf><pdp_per_row>1</pdp_per_row><database>{rows}</database></rra>"
    found, report = take(written(tmp_path, xml(text, sources=two)))
    assert list(found.rows("a").values()) == [1, 1, 4]
    assert list(found.rows("b").values()) == [2, 5]
    assert report.left_out == {"the row ends before it": 1, "the row has more values than there are data sources": 1}


def test_a_long_archive_comes_in_runs_of_bounded_size(tmp_path: Path) -> None:
    path = written(tmp_path, xml(archive(1, range(170_000)), updated=START + 10**6))
    parts: list[float] = []
    target = Recording()
    report = import_file(path, target, "site", "meter", progress=parts.append)
    sizes = [len(samples) for _, samples in target.runs]
    assert (report.taken, sum(sizes), max(sizes) <= MOST, len(sizes)) == (170_000, 170_000, True, 4)
    assert parts == sorted(parts)
    assert parts[-1] == 1.0
    assert len(parts) > 50


BOMB = '<!DOCTYPE rrd [<!ENTITY a "9999999999"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>'


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (xml(archive(1, ["&b;"]), head=BOMB), "declares or uses entities"),
        (xml(archive(1, ["&x;"]), head='<!DOCTYPE rrd [<!ENTITY x SYSTEM "file:///etc/passwd">]>'), "entities"),
        (xml(archive(1, ["&x;"]), head='<!DOCTYPE rrd [<!ENTITY % p SYSTEM "http://localhost/x"> %p;]>'), "entities"),
        (xml(archive(1, ["&x;"])), "entities"),
        (xml(archive(1, [1]))[:-20], "damaged XML"),
        (xml(archive(1, ["1" * 1000])), "too long"),
        ("<rrd>" * 100, "nested too deeply"),
        (xml(archive(1, [1]), step=0), "step is '0', and must be a number above 0"),
        (xml(archive("x", [1])), "pdp_per_row is 'x'"),
        (xml(archive(1, [1]), updated="9" * 99), "lastupdate is"),
        (xml(archive(1, [1]), step=""), "step is ''"),
        ("<rrd><rra><cf>AVERAGE</cf></rra></rrd>", "no whole dump"),
        (xml(archive(1, [1]), sources="<ds><name>a</name></ds>"), "do not go together"),
        (xml(archive(1, [1]), sources="<ds><name>a</name><type>GAUGE</type></ds>" * 2), "do not go together"),
        ("<rrd></rrd>", "no whole dump"),
    ],
)  # fmt: skip
def test_what_is_no_dump_is_refused_in_a_sentence(tmp_path: Path, text: str, complaint: str) -> None:
    path = written(tmp_path, text)
    target = Recording()
    with pytest.raises(ImportProblem, match=complaint):
        import_file(path, target, "site", "meter", kind="rrd")
    assert not target.runs


def test_nothing_is_loaded_from_elsewhere(tmp_path: Path) -> None:
    """Every real dump names its DTD; a file in its place would be read by a parser that loads it."""
    (tmp_path / "evil.dtd").write_text('<!ENTITY x "5">')
    head = f'<!DOCTYPE rrd SYSTEM "{(tmp_path / "evil.dtd").as_uri()}">'
    found, _ = take(written(tmp_path, xml(archive(1, [4]), head=head)))
    assert list(found.rows().values()) == [4]
    with pytest.raises(ImportProblem, match="entities"):
        take(written(tmp_path, xml(archive(1, ["&x;"]), head=head)))


@pytest.mark.parametrize(("rows", "later"), [(90_000, 0), (60_000, 5)])
def test_a_file_that_changes_while_it_is_read_is_noticed(tmp_path: Path, rows: int, later: int) -> None:
    path = written(tmp_path, xml(archive(1, range(60_000)), updated=START + 10**6))
    done: list[float] = []

    def progress(part: float) -> None:
        if not done and part >= 0.5:
            done.append(part)
            newer = tmp_path / "newer.xml"
            newer.write_text(xml(archive(1, range(rows)), updated=START + 10**6 + later))
            newer.replace(path)

    with pytest.raises(ImportProblem, match="was changed while it was read"):
        import_file(path, Recording(), "site", "meter", progress=progress)
