# SPDX-License-Identifier: GPL-3.0-or-later
"""A simulated weather station: the text of Davis WeatherLink and the JSON of Open-Meteo, and a server for both.

After published WeatherLink files and Open-Meteo's documents. Not documented, and assumed: WeatherLink's numbers of
blanks between columns.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit

from rockit.boiler.simulators.world import shared

FAULTS: Mapping[str, str] = {
    "500": "the server answers with an error",
    "hang": "the server takes the question and never answers",
    "drip": "the answer comes byte by byte, for ever",
    "cut": "the answer ends half-way",
    "large": "the answer has no end",
    "garbage": "the answer is of something else",
    "stale": "the newest weather is of two days ago",
    "still": "the newest record stays the same",
    "dashes": "nothing was measured",
    "redirect": "the server sends to a file of its own",
}
TEXT, JSON = "/downld02.txt", "/v1/forecast"
_HEAD = """                  Temp     Hi    Low   Out    Dew  Wind  Wind   Wind    Hi    Hi   Wind
  Date    Time     Out   Temp   Temp   Hum    Pt. Speed   Dir    Run Speed   Dir  Chill
-----------------------------------------------------------------------------------------
"""
_INTERVAL = 900


class Station:
    """One station; `measure` gives °C and m/s. `fault` is one of FAULTS, or None."""

    def __init__(self, measure: Callable[[], tuple[float, float]]) -> None:
        self._measure = measure
        self._still: str | None = None
        self.fault: str | None = None

    def weatherlink(self, utc: datetime) -> str:
        """WeatherLink's file at `utc`, °F and mph. Its clock is some hours behind, as in another time zone."""
        celsius, wind = self._measure()
        if self.fault == "still" and self._still is not None:
            return self._still
        local = utc - timedelta(hours=6, days=2 if self.fault == "stale" else 0)
        lines = []
        for minutes in (20, 10, 0):
            at = local - timedelta(minutes=minutes)
            clock = f"{(at.hour - 1) % 12 + 1}:{at.minute:02d}{'p' if at.hour >= 12 else 'a'}"
            # The older records are of other weather: whoever reads one of them is wrong.
            fahrenheit, mph = celsius * 1.8 + 32.0 + minutes, wind * 3600 / 1609.344 + minutes
            temperature, speed = (f"{fahrenheit:.1f}", f"{mph:.1f}") if self.fault != "dashes" else ("---", "---")
            date = f"{at.month:2d}/{at.day:02d}/{at.year % 100:02d}"
            lines.append(
                f"{date} {clock:>7} {temperature:>7} {temperature:>6} {temperature:>6} {55:5d} {41.0:6.1f}"
                f" {speed:>5} {'NW':>5} {0.25:6.2f} {speed:>5} {'NW':>5} {temperature:>6}"
            )
        self._still = _HEAD + "\n".join(lines) + "\n"
        return self._still

    def open_meteo(self, utc: datetime) -> str:
        """Open-Meteo's answer at `utc`, in °C and km/h."""
        celsius, wind = self._measure()
        moment = utc - timedelta(days=2 if self.fault == "stale" else 0)
        since = int(moment.timestamp()) // _INTERVAL * _INTERVAL
        dashes = self.fault == "dashes"
        return json.dumps({
            "latitude": 41.5, "longitude": -93.6, "utc_offset_seconds": 3600, "timezone": "Europe/Berlin",
            "current_units": {
                "time": "iso8601", "interval": "seconds", "temperature_2m": "°C", "wind_speed_10m": "km/h",
            },
            "current": {
                "time": datetime.fromtimestamp(since + 3600, UTC).strftime("%Y-%m-%dT%H:%M"), "interval": _INTERVAL,
                "temperature_2m": None if dashes else round(celsius, 1),
                "wind_speed_10m": None if dashes else round(3.6 * wind, 1),
            },
        }, ensure_ascii=False)  # fmt: skip

    def body(self, driver: str, utc: datetime) -> str:
        """What a server of this station answers to `weatherlink` or `open-meteo`. Raises OSError where none would."""
        if self.fault not in (None, *FAULTS):
            raise ValueError(f"no fault {self.fault!r}; there is {', '.join(FAULTS)}")
        if self.fault in ("500", "hang", "drip", "cut", "large", "redirect"):
            raise OSError(FAULTS[self.fault])
        if self.fault == "garbage":
            return "<html><body>It works!</body></html>\n"
        return self.weatherlink(utc) if driver == "weatherlink" else self.open_meteo(utc)


_stations: dict[str, Station] = {}
_guard = threading.Lock()


def simulated(url: str, now: float) -> Station:
    """The station behind `sim://weather?world=NAME`, always the same one. `now`: monotonic s. Raises ValueError."""
    with _guard:
        if url not in _stations:
            parts = urlsplit(url)
            query = parse_qs(parts.query)
            if (parts.scheme, parts.netloc, *query) != ("sim", "weather", "world"):
                raise ValueError(f"{url}: must be sim://weather?world=NAME")
            world = shared(query["world"][-1], now)

            def measure() -> tuple[float, float]:
                with world.lock:
                    world.advance(time.monotonic())
                    return world.outside_temp, world.wind_speed

            _stations[url] = Station(measure)
        return _stations[url]


class WeatherServer:
    """A station on the web, on this machine only. Use it in a `with`; `url(path)` is where it is."""

    def __init__(self, station: Station) -> None:
        self.station = station
        self.requests = 0
        self._over = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = False
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="weather server")

    def url(self, path: str) -> str:
        """TEXT or JSON of this server."""
        return f"http://127.0.0.1:{self._server.server_address[1]}{path}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one question, as the fault lets it."""
        self.requests += 1
        fault = self.station.fault
        if fault == "hang":
            self._over.wait(60)
            return
        if fault == "500":
            handler.send_error(500, "Internal Server Error")
            return
        if fault == "redirect":
            handler.send_response(302)
            handler.send_header("Location", "file:///etc/hostname")
            handler.end_headers()
            return
        if fault in ("drip", "large", "cut"):
            self._badly(handler, fault)
            return
        driver = "weatherlink" if urlsplit(handler.path).path == TEXT else "open-meteo"
        data = self.station.body(driver, datetime.now(UTC)).encode()
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    def _badly(self, handler: BaseHTTPRequestHandler, fault: str) -> None:
        if fault == "drip":
            while not self._over.wait(0.02):
                handler.wfile.write(b"H")
        handler.send_response(200)
        if fault == "cut":
            handler.send_header("Content-Length", "5000")
        handler.end_headers()
        handler.wfile.write(b"half of it")
        while fault == "large" and not self._over.is_set():
            handler.wfile.write(b"-" * 65536)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                with contextlib.suppress(OSError):
                    server.answer(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Nothing: a test reads no server log."""

        return Handler
