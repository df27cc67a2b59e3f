# SPDX-License-Identifier: GPL-3.0-or-later
"""Weather: documents of two services, real servers and a real daemon, fallbacks, wind chill."""

from __future__ import annotations

import json
import math
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Any

import msgspec
import pytest
import trustme
from harness import free_ports, wait_for
from hypothesis import given
from hypothesis import strategies as st
from served import Lines, serving

from rockit.boiler import weather
from rockit.boiler.protocols import openmeteo, weatherlink
from rockit.boiler.simulators import weather as simulated
from rockit.boiler.simulators.weather import JSON, TEXT, Station, WeatherServer
from rockit.boiler.simulators.world import Steady, forget, shared
from rockit.boiler.weather import Outside, Weather, WeatherConfig
from rockit.boiler.windchill import wind_chill
from rockit.common import config
from rockit.common.errors import ConfigError
from rockit.common.framing import ProtocolError
from rockit.common.remote.service import read
from rockit.common.transport import NoAnswer, http

NOW = datetime(2026, 3, 26, 16, 20, tzinfo=UTC)
LINES = """                  Temp     Hi    Low   Out    Dew  Wind  Wind   Wind    Hi    Hi   Wind   Heat    THW
  Date    Time     Out   Temp   Temp   Hum    Pt. Speed   Dir    Run Speed   Dir  Chill  Index  Index   Bar
-----------------------------------------------------------------------------------------------------------
 3/26/26  10:00a   50.0   51.0   49.0    55   34.2   8.0    NW   0.67  15.0    NW   46.0   50.0   46.0 30.01
 3/26/26  10:10a   14.0   15.0   13.0    55    1.2  10.0    NW   0.83  16.0    NW    0.1   14.0    0.1 30.02
"""
ANSWER: dict[str, Any] = {
    "latitude": 40.71, "utc_offset_seconds": 0, "timezone": "GMT",
    "current_units": {"time": "iso8601", "interval": "seconds", "temperature_2m": "°C", "wind_speed_10m": "km/h"},
    "current": {"time": "2026-03-26T16:15", "interval": 900, "temperature_2m": 18.0, "wind_speed_10m": 18.0},
}  # fmt: skip


# --- wind chill


@pytest.mark.parametrize(
    ("celsius", "kmh", "expected"),
    [(-10, 20, -17.9), (0, 15, -4.4), (-20, 50, -35.4), (-17.7778, 24.14016, -28.556), (-1.1111, 16.09344, -6.0)],
)
def test_wind_chill_as_published(celsius: float, kmh: float, expected: float) -> None:
    """The last two are 0 °F with 15 mph (-19.4 °F) and 30 °F with 10 mph (21.2 °F)."""
    assert wind_chill(celsius, kmh / 3.6) == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize(("celsius", "speed"), [(10.1, 10.0), (25.0, 30.0), (-10.0, 1.3), (-10.0, 0.0)])
def test_where_there_is_no_wind_chill_it_is_the_temperature(celsius: float, speed: float) -> None:
    assert wind_chill(celsius, speed) == celsius


# --- WeatherLink


def test_the_newest_line_counts() -> None:
    found = weatherlink.parse(LINES, NOW)
    assert found == {"outside_temp": pytest.approx(-10.0), "wind_speed": pytest.approx(4.4704), "age": None}


def test_what_was_not_measured_is_not_zero() -> None:
    found = weatherlink.parse(LINES.replace("  14.0 ", "   --- "), NOW)
    assert (found["outside_temp"], found["wind_speed"]) == (None, pytest.approx(4.4704))
    assert weatherlink.parse(LINES.replace("  10.0  ", "   ---  "), NOW)["wind_speed"] is None
    assert weatherlink.parse(LINES.replace("  14.0 ", "   0.0 "), NOW)["outside_temp"] == pytest.approx(
        -17.78, abs=0.01
    )


def test_a_station_may_show_other_units() -> None:
    found = weatherlink.parse(LINES, NOW, "degC", "km/h")
    assert (found["outside_temp"], found["wind_speed"]) == (14.0, pytest.approx(10 / 3.6))


@pytest.mark.parametrize("date", ["3/26/26", "26/03/26", "26.03.2026", "2026-03-26", "3/25/26", "3/27/26"])
def test_a_date_of_these_days_in_any_order(date: str) -> None:
    assert weatherlink.parse(LINES.replace("3/26/26", date), NOW)["outside_temp"] == pytest.approx(-10.0)


@pytest.mark.parametrize("date", ["3/24/26", "9/27/18", "3/26/22"])
def test_a_station_that_died_days_ago(date: str) -> None:
    with pytest.raises(ProtocolError, match=rf"newest record is of {date}; is the station"):
        weatherlink.parse(LINES.replace("3/26/26", date), NOW)


@pytest.mark.parametrize(
    "text",
    ["", "\n\n", "<html>It works!</html>", "\n".join(LINES.splitlines()[:3]), LINES[:-60],
     LINES.replace("14.0", "warm"), LINES.replace("14.0", "14..0"), LINES.replace("14.0", "nan"),
     LINES.replace("14.0", "1e9"), LINES + "bye"],
)  # fmt: skip
def test_what_is_no_weatherlink_text(text: str) -> None:
    with pytest.raises(ProtocolError):
        weatherlink.parse(text, NOW)


# --- Open-Meteo


def changed(**current: Any) -> str:
    made = {**ANSWER, "current": {**ANSWER["current"], **current}}
    return json.dumps(made)


def test_an_answer_of_open_meteo() -> None:
    assert openmeteo.parse(json.dumps(ANSWER), NOW) == {"outside_temp": 18.0, "wind_speed": 5.0, "age": 0.0}


@pytest.mark.parametrize(
    ("units", "temperature", "wind"),
    [({"temperature_2m": "°F", "wind_speed_10m": "mp/h"}, -7.778, 8.0467), ({"wind_speed_10m": "m/s"}, 18.0, 18.0),
     ({"wind_speed_10m": "kn"}, 18.0, 9.26)],
)  # fmt: skip
def test_other_units(units: dict[str, str], temperature: float, wind: float) -> None:
    text = json.dumps({**ANSWER, "current_units": {**ANSWER["current_units"], **units}})
    found = openmeteo.parse(text, NOW)
    assert (found["outside_temp"], found["wind_speed"]) == (
        pytest.approx(temperature, abs=1e-3), pytest.approx(wind, abs=1e-3),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("time", "offset", "age"),
    [("2026-03-26T16:15", 0, 0.0), ("2026-03-26T16:00", 0, 300.0), ("2026-03-26T17:00", 3600, 300.0),
     ("2026-03-26T08:15", -28800, 0.0), (1774541700, 3600, 0.0), ("2026-03-26T16:30", 0, 0.0),
     ("2026-03-26T15:21", 0, 2640.0)],
)  # fmt: skip
def test_how_old_it_is(time: str | int, offset: int, age: float) -> None:
    text = json.dumps({**ANSWER, "utc_offset_seconds": offset, "current": {**ANSWER["current"], "time": time}})
    assert openmeteo.parse(text, NOW)["age"] == age


@pytest.mark.parametrize("time", ["2026-03-26T15:20", "2026-03-26T17:20", "2026-03-26T16:15+05:00", "2025-03-26T16:15"])
def test_what_is_an_hour_off_is_not_current(time: str) -> None:
    with pytest.raises(ProtocolError, match=r"and now is 2026-03-26T16:20 UTC"):
        openmeteo.parse(changed(time=time), NOW)


@pytest.mark.parametrize("value", [None, True, "18", [], math.nan, math.inf, 10**400], ids=lambda v: str(v)[:8])
def test_what_is_no_number_is_not_known(value: Any) -> None:
    assert openmeteo.parse(changed(temperature_2m=value), NOW)["outside_temp"] is None
    assert openmeteo.parse(changed(wind_speed_10m=value), NOW)["wind_speed"] is None
    assert openmeteo.parse(changed(wind_speed_10m=-1), NOW)["wind_speed"] is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [("", r"not JSON"), ("<html>", r"not JSON"), ("[" * 100_000, r"not JSON"), ("[]", r"no current weather"),
     ("{}", r"no current weather"), ('{"current": {}}', r"no current weather"),
     ('{"error": true, "reason": "Daily limit"}', r"refuses: Daily limit"),
     (changed(time=None), r"not a time"), (changed(time="soon"), r"not a time"), (changed(time=True), r"not a time"),
     (changed(time=10**30), r"not a time"),
     (json.dumps({**ANSWER, "utc_offset_seconds": None}), r"not a time"),
     (json.dumps({**ANSWER, "current_units": {"wind_speed_10m": "m/s", "temperature_2m": "K"}}), r"_2m is in 'K'"),
     (json.dumps({**ANSWER, "current_units": {"temperature_2m": []}}), r"a unit that is not known"),
     (json.dumps({**ANSWER, "current_units": {}}), r"a unit that is not known")],
    ids=lambda text: text[:20],
)  # fmt: skip
def test_what_is_no_answer_of_open_meteo(text: str, reason: str) -> None:
    with pytest.raises(ProtocolError, match=reason):
        openmeteo.parse(text, NOW)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.just("2026-03-26T16:15"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
keyed = st.fixed_dictionaries(
    {},
    optional={
        "current": st.fixed_dictionaries(
            {}, optional=dict.fromkeys(("time", "interval", "temperature_2m", "wind_speed_10m"), anything)
        ),
        "current_units": st.fixed_dictionaries({}, optional={"temperature_2m": anything, "wind_speed_10m": anything}),
        "utc_offset_seconds": anything,
        "error": anything,
    },
)


@given(st.one_of(anything, keyed).map(json.dumps) | st.text(max_size=60))
def test_any_json_is_weather_or_refused(text: str) -> None:
    check(lambda: openmeteo.parse(text, NOW))


@given(st.lists(st.sampled_from([*LINES.split(), "\n", "---", "-", "0", "é"]) | st.text(max_size=8), max_size=40))
def test_any_text_is_weather_or_refused(words: list[str]) -> None:
    check(lambda: weatherlink.parse(" ".join(words), NOW))
    check(lambda: weatherlink.parse(LINES + " ".join(["3/26/26", "10:20a", *words]), NOW))


def check(parse: Callable[[], dict[str, float | None]]) -> None:
    try:
        found = parse()
    except ProtocolError:
        return
    assert found.keys() == {"outside_temp", "wind_speed", "age"}
    assert all(value is None or math.isfinite(value) for value in found.values())


# --- the documents, over real sockets


@pytest.fixture
def station() -> Station:
    return Station(lambda: (-7.5, 3.0))


@pytest.fixture
def server(station: Station) -> Iterator[WeatherServer]:
    with WeatherServer(station) as running:
        yield running


def test_a_document(server: WeatherServer) -> None:
    assert b"Chill" in http.get(server.url(TEXT), 5.0)
    assert json.loads(http.get(server.url(JSON), 5.0))["current"]["temperature_2m"] == -7.5


@pytest.mark.parametrize(
    ("fault", "timeout", "reason"),
    [("500", 5.0, r"127\.0\.0\.1:\d+ answers with status 500 \(Internal"),
     ("hang", 0.2, r"no whole answer within 0\.2 s"), ("drip", 0.2, r"no whole answer within 0\.2 s"),
     ("large", 5.0, r"more than 200000 bytes"), ("cut", 5.0, r"cut short"), ("redirect", 5.0, r"file|status 302")],
)  # fmt: skip
def test_servers_that_fail(server: WeatherServer, fault: str, timeout: float, reason: str) -> None:
    server.station.fault = fault
    with pytest.raises(NoAnswer, match=reason):
        http.get(server.url(TEXT), timeout)


def test_over_tls_only_with_a_certificate_that_holds(
    station: Station, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with WeatherServer(station) as server:
        listener = server._server.socket
        server._server.socket = context.wrap_socket(listener, server_side=True)
        url = server.url(TEXT).replace("http:", "https:")
        with pytest.raises(NoAnswer, match=r"CERTIFICATE_VERIFY_FAILED|certificate"):
            http.get(url, 5.0)
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        assert b"Chill" in http.get(url, 5.0)
        station.fault = "drip"
        with pytest.raises(NoAnswer, match=r"no whole answer within 0\.3 s"):
            http.get(url, 0.3)
        station.fault = "redirect"
        with pytest.raises(NoAnswer, match=r"file|status 302"):
            http.get(url, 5.0)


def test_no_server() -> None:
    (port,) = free_ports(1)
    with pytest.raises(NoAnswer, match=rf"127.0.0.1:{port}: nothing listens there"):
        http.get(f"http://127.0.0.1:{port}/x", 5.0)


@pytest.mark.parametrize(
    "url", ["", "wx.example.org", "ftp://example.org/x", "file:///etc/hostname", "http://", "http://[x", "http://a b/",
            "http://host:99999/", "http://host/é", "http://host/\r\nX: y"],
)  # fmt: skip
def test_what_is_no_url_of_a_document(url: str) -> None:
    with pytest.raises(ValueError, match=r"must be http"):
        http.get(url, 1.0)


def test_a_password_in_a_url_is_in_no_message() -> None:
    assert http.host_of("https://me:secret@example.org:8443/x") == "example.org:8443"


# --- sources


class Bench:
    """Weather from configs, with a registry of its own."""

    def __init__(self, folder: Path, stack: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
        (self.port,) = free_ports(1)
        entries = {"sky": {"object_id": "sky_daemon", "machine": "LocalHost", "port": self.port, "timeout": 2}}
        path = folder / "daemons.json"
        path.write_text(json.dumps({"machines": {"LocalHost": ["127.0.0.1"]}, "daemons": entries}))
        monkeypatch.setenv("ROCKIT_DAEMONS_PATH", str(path))
        monkeypatch.setattr(weather, "SHORTEST", 0.0)
        self.log = Lines()
        self.stop = threading.Event()
        self._stack = stack

    def serve(self, service: Any) -> None:
        self._stack.enter_context(serving(service, port=self.port, object_id="sky_daemon"))

    def weather(self, **keys: Any) -> Weather:
        made = Weather(config.parse(json.dumps({"period": 0.03, **keys}), WeatherConfig, "test"), self.stop, self.log)
        made.start()
        self._stack.callback(self._end, made)
        return made

    def _end(self, made: Weather) -> None:
        self.stop.set()
        for source in made.inputs:
            source._thread.join(30)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    with ExitStack() as stack:
        yield Bench(tmp_path, stack, monkeypatch)


def outside(found: Weather) -> Outside:
    return found.value(monotonic())


def temperature(found: Weather) -> float | None:
    return outside(found).outside_temp


def about(value: float) -> Any:
    return pytest.approx(value, abs=0.06)


@pytest.mark.parametrize(("driver", "path"), [("weatherlink", TEXT), ("open-meteo", JSON)])
def test_weather_from_the_web(bench: Bench, server: WeatherServer, driver: str, path: str) -> None:
    found = bench.weather(driver=driver, url=server.url(path))
    wait_for(lambda: temperature(found) is not None, "the weather")
    now = outside(found)
    assert (now.outside_temp, now.wind_speed) == (about(-7.5), about(3.0))
    assert now.source == http.host_of(server.url(path))
    assert now.time is not None
    assert now.time <= monotonic()
    assert found.problem(monotonic()) == ""
    assert found.samples(monotonic()).keys() == {"outside_temp", "wind_speed"}
    assert found.counters()["weather1_input_polls"] >= 1
    assert bench.log.lines == []


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("dashes", "no valid value of outside_temp, wind_speed"),
        ("stale", "its "),
        ("garbage", "no"),
        ("500", "status"),
    ],
)
@pytest.mark.parametrize(("driver", "path"), [("weatherlink", TEXT), ("open-meteo", JSON)])
def test_what_is_not_known_is_neither_zero_nor_of_yesterday(
    bench: Bench, server: WeatherServer, driver: str, path: str, fault: str, reason: str
) -> None:
    found = bench.weather(driver=driver, url=server.url(path))
    wait_for(lambda: temperature(found) == about(-7.5), "the weather")
    server.station.fault = fault
    wait_for(lambda: bench.log.of("error"), "the line that says so")
    assert bench.log.of("error")[0].startswith(f"Lost weather ({driver}): ")
    if fault == "dashes":
        assert outside(found) == Outside()
    else:
        assert temperature(found) == about(-7.5), "what was known is still true for a while"
    assert found.value(monotonic() + 1000.0) == Outside()
    assert reason in found.problem(monotonic() + 1000.0)
    server.station.fault = None
    wait_for(lambda: bench.log.of("info"), "it is back")
    assert temperature(found) == about(-7.5)


def test_a_record_that_stays_the_same_becomes_old(bench: Bench, server: WeatherServer) -> None:
    found = bench.weather(driver="weatherlink", url=server.url(TEXT), maximum_age=0.4)
    wait_for(lambda: temperature(found) == about(-7.5), "the weather")
    server.station.fault = "still"
    wait_for(lambda: "its newest record is at least" in found.problem(monotonic()), "it to be given up")
    assert temperature(found) is None


def test_a_server_that_hangs_holds_nobody_up(bench: Bench, server: WeatherServer) -> None:
    server.station.fault = "hang"
    found = bench.weather(driver="open-meteo", url=server.url(JSON), timeout=0.2)
    wait_for(lambda: server.requests, "the question that hangs")
    assert outside(found) == Outside()
    wait_for(lambda: "no whole answer within 0.2 s" in found.problem(monotonic()), "it to be given up")


def test_the_first_source_that_knows(bench: Bench, server: WeatherServer) -> None:
    forget("fallback")
    shared("fallback", monotonic(), speed=0.0, climate=Steady(2.5, 6.0))
    second = {"driver": "weatherlink", "url": "sim://weather?world=fallback", "period": 0.03}
    found = bench.weather(driver="open-meteo", url=server.url(JSON), fallback=second)
    wait_for(lambda: temperature(found) == about(-7.5), "the first one's")
    server.station.fault = "dashes"
    wait_for(lambda: temperature(found) == about(2.5), "the second one's")
    assert outside(found).wind_speed == about(6.0)
    assert outside(found).source == "sim://weather?world=fallback"
    server.station.fault = None
    wait_for(lambda: temperature(found) == about(-7.5), "the first one's again")
    simulated.simulated("sim://weather?world=fallback", monotonic()).fault = "500"
    server.station.fault = "500"
    wait_for(lambda: found.inputs[1].counters["input_failures"], "the second one to fail")
    later = monotonic() + 1000.0
    wait_for(lambda: "status 500" in found.problem(later), "the first one to fail")
    assert found.value(later) == Outside()
    assert "; sim://weather?world=fallback: the server answers with an error" in found.problem(later)


class Sky:
    """A daemon that measures the weather; and as an environmentd, it tells what others measure."""

    def __init__(self) -> None:
        self.log = Lines()
        self.allowed: frozenset[str] = frozenset()
        self.values: dict[str, Any] = {"temperature": 41.0, "temperature_valid": True, "wind": 36.0}
        self.age = 0.0
        self.current = True

    @read
    def last_measurement(self) -> dict[str, Any]:
        date = datetime.now(UTC) - timedelta(seconds=self.age)
        return {"date": date.strftime("%Y-%m-%dT%H:%M:%SZ"), **self.values}

    @read
    def status(self) -> dict[str, Any]:
        parameters = {
            name: {"label": name, "latest": value, "current": self.current} for name, value in self.values.items()
        }
        return {"vaisala": {"label": "Vaisala", "parameters": parameters}}


ROCKIT = {
    "driver": "rockit", "daemon": "sky", "temperature_key": "temperature", "temperature_unit": "degF",
    "wind_key": "wind", "wind_unit": "km/h",
}  # fmt: skip


def test_weather_of_another_daemon(bench: Bench) -> None:
    sky = Sky()
    bench.serve(sky)
    found = bench.weather(**ROCKIT, temperature_valid_key="temperature_valid")
    wait_for(lambda: temperature(found) == about(5.0), "the weather")
    assert (outside(found).wind_speed, outside(found).source) == (about(10.0), "sky")
    sky.values["temperature_valid"] = False
    wait_for(lambda: temperature(found) is None, "what it does not vouch for to be given up")
    assert outside(found).wind_speed == about(10.0)
    sky.values["temperature_valid"] = True
    wait_for(lambda: temperature(found) == about(5.0), "the weather again")
    sky.age = 3600.0
    wait_for(lambda: outside(found) == Outside(), "what is of an hour ago to be given up")
    assert "sky: the date of its measurement" in found.problem(monotonic())


def test_weather_without_wind(bench: Bench) -> None:
    bench.serve(Sky())
    found = bench.weather(driver="rockit", daemon="sky", temperature_key="temperature", temperature_unit="degF")
    wait_for(lambda: temperature(found) == about(5.0), "the weather")
    assert outside(found).wind_speed is None
    assert found.inputs[0].problem == "", "nobody asked for wind"


def test_weather_of_an_environmentd(bench: Bench) -> None:
    sky = Sky()
    bench.serve(sky)
    found = bench.weather(**ROCKIT, sensor="vaisala")
    wait_for(lambda: temperature(found) == about(5.0), "the weather")
    sky.current = False
    wait_for(lambda: temperature(found) is None, "what is not current to be given up")
    sky.current = True
    wait_for(lambda: temperature(found) == about(5.0), "the weather again")
    other = bench.weather(**ROCKIT, sensor="netatmo")
    wait_for(lambda: "no sensor 'netatmo'" in other.problem(monotonic()), "the reason")


@pytest.mark.parametrize("value", [500.0, -90.0, "41", None, True])
def test_a_temperature_that_cannot_be_is_not_known(bench: Bench, value: Any) -> None:
    sky = Sky()
    bench.serve(sky)
    found = bench.weather(**ROCKIT)
    wait_for(lambda: temperature(found) == about(5.0), "the weather")
    sky.values["temperature"] = value
    wait_for(lambda: temperature(found) is None, "it to be given up")


# --- configs


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"driver": "weatherlink"}, r"url: weatherlink needs it"),
        ({"driver": "weatherlink", "url": "wx.example.org"}, r"url: wx.example.org: must be http"),
        ({"driver": "weatherlink", "url": "http://x/", "daemon": "sky"}, r"daemon: belongs to rockit"),
        ({"driver": "open-meteo", "url": "http://x/", "wind_unit": "mph"}, r"wind_unit: open-meteo says"),
        ({"driver": "rockit"}, r"daemon: rockit needs it"),
        ({"driver": "rockit", "daemon": "sky", "temperature_key": "t", "wind_key": "w"}, r"wind_unit: needed"),
        ({"driver": "rockit", "daemon": "sky", "temperature_key": "t", "url": "http://x/"}, r"url: rockit has"),
        ({"driver": "metar", "url": "http://x/"}, r"driver"),
        ({"driver": "weatherlink", "url": "http://x/", "maximum_age": 30}, r"maximum_age: is shorter"),
        ({"driver": "weatherlink", "url": "http://x/", "colour": 1}, r"colour: unknown key"),
        ({"driver": "weatherlink", "url": "http://x/", "fallback": {"driver": "open-meteo"}}, r"fallback.url: open-m"),
        ({"driver": "weatherlink", "url": "http://x/", "fallback": {"driver": "rockit", "x": 1}}, r"fallback.x: unkn"),
    ],
)
def test_configs_that_cannot_be(content: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        config.parse(json.dumps(content), WeatherConfig, "test")


def test_a_config_as_it_is_meant() -> None:
    made = msgspec.convert({"driver": "weatherlink", "url": "http://wx.example.org/downld02.txt"}, WeatherConfig)
    assert (made.period, made.maximum_age, made.fallback) == (60.0, 900.0, None)
    assert list(made.problems()) == []


def test_simulated_stations_that_cannot_be() -> None:
    for url in ("sim://weather", "sim://weather?world=", "sim://rain?world=x", "sim://weather?world=x&y=1"):
        with pytest.raises(ValueError, match=r"must be sim://weather\?world=NAME"):
            simulated.simulated(url, 0.0)
