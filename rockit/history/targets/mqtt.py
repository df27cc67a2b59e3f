# SPDX-License-Identifier: GPL-3.0-or-later
"""Live values on an MQTT broker, which Home Assistant finds by itself. Never the record: what is late is left out.

`rockit/SITE/DEVICE/KEY` has `{"value": 11.5, "time": "2026-11-21T10:00:00.123Z", "quality": "good"}`, QoS 0. It is not
retained: a broker would hand out a value of last week as if it were new. `rockit/SITE/DEVICE` has `online` or, by the
broker's own hand when we die, `offline`, retained. Home Assistant is told after how long a value counts no more.
"""

from __future__ import annotations

import secrets
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from rockit.common.quality import Quality
from rockit.history.model import Batch, Series
from rockit.history.targets import TargetFailed, TargetRefused
from rockit.history.targets.credentials import read_token, trusting
from rockit.history.targets.homeassistant import STATUS, config, config_topic, topic

if TYPE_CHECKING:
    from rockit.history.targets.address import Address

FRESH = 60_000
"""An older value is not sent, ms."""
SHORTEST = 120
"""Home Assistant believes a value for so long at least, s; twice as long and so on for a series that comes seldom."""
TIMEOUT = 10.0
_KEEPALIVE = 30
"""The broker takes us for dead after 1.5 times this, s."""
_REFUSALS = ("Not authorized", "Bad user name or password")
_SAID = {Quality.GOOD: "good", Quality.UNCERTAIN: "uncertain"}


@dataclass(frozen=True)
class _Shown:
    """A series as it was shown last."""

    series: Series
    time: int = 0
    """Of the value, ms."""
    pause: int = 0
    """Before it, ms."""
    expires: int = SHORTEST

    def next(self, series: Series, when: int) -> _Shown:
        """With a value of time `when`."""
        pause = max(0, when - self.time) if self.time else 0
        usual = min(pause, self.pause)  # a single long pause was an outage
        expires = self.expires
        while expires * 1000 < 3 * usual:
            expires *= 2  # in large steps: each is told
        return _Shown(series, when, pause, expires)


class MqttTarget:
    """A broker. The library's own thread keeps the connection; `send` gives it one value of each series at most."""

    live = True
    loses = False
    """What is gone there is not worth sending again."""

    def __init__(
        self, address: Address, token_file: str | None = None, ca_file: str | None = None, timeout: float = TIMEOUT
    ) -> None:
        self.name = address.name
        self._address = address
        self._token_file = token_file
        self._ca_file = ca_file
        self._timeout = timeout
        self._changed = threading.Condition()
        self._client: paho.Client | None = None
        self._availability = ""
        self._shown: dict[tuple[str, str, str], _Shown] = {}
        self._unwritten: set[int] = set()
        self._connected = False
        self._connection = 0
        self._failures = 0
        self._closed = False
        self._restarted = False
        self._trouble: TargetFailed | None = None

    def send(self, batch: Batch) -> None:
        """Publish what is new and fresh in a batch; return when it is on its way. Raises TargetFailed."""
        newest = self._newest(batch)
        if not newest:
            return
        deadline = time.monotonic() + self._timeout
        with self._changed:
            if self._client is None and not self._closed:
                self._client = self._begin(batch.series[next(iter(newest))])
            client = self._wait(deadline)
            connection = self._connection
            shown = []
            for index, (when, value, quality) in newest.items():
                series = batch.series[index]
                before = self._shown.get(series.name)
                now = (before or _Shown(series)).next(series, when)
                if before is None or (before.series, before.expires) != (series, now.expires):
                    self._announce(client, now)
                said = {"value": value, "time": _iso(when), "quality": _SAID[Quality(quality)]}
                self._publish(client, topic(*series.name), said)
                shown.append(now)
            self._wait(deadline)
            if connection != self._connection:
                raise TargetFailed(f"{self.name}: the connection was lost, and made again")
            self._shown.update((now.series.name, now) for now in shown)

    def restarted(self) -> bool:
        """Whether the connection was opened anew since this was asked last."""
        was, self._restarted = self._restarted, False
        return was

    def close(self) -> None:
        """Say that we go, and end a `send` that waits."""
        with self._changed:
            client, was = self._client, self._closed
            self._closed = True
            self._changed.notify_all()
            if client is None or was:
                return
            if self._connected:
                client.publish(self._availability, "offline", retain=True)
        client.disconnect()
        # The library waits for its thread without end, and that one for a name server perhaps.
        stopper = threading.Thread(target=client.loop_stop, name="stop MQTT", daemon=True)
        stopper.start()
        stopper.join(1.0)

    def _newest(self, batch: Batch) -> dict[int, tuple[int, float, int]]:
        """Index of series -> the newest sample that is to be shown."""
        now = time.time_ns() // 1_000_000
        newest: dict[int, tuple[int, float, int]] = {}
        for index, when, value, quality in batch.samples:
            if when >= now - FRESH and quality != Quality.BAD and (index not in newest or when > newest[index][0]):
                newest[index] = when, value, quality
        for index in list(newest):
            shown = self._shown.get(batch.series[index].name)
            if shown is not None and newest[index][0] <= shown.time <= now:  # later than now: the clock stepped back
                del newest[index]
        return newest

    def _begin(self, first: Series) -> paho.Client:
        tls = self._address.scheme == "mqtts"
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id=f"rockit-{secrets.token_hex(6)}")
        if tls:
            client.tls_set_context(trusting(self._ca_file))
        self._availability = topic(first.site, first.device)
        client.will_set(self._availability, "offline", qos=1, retain=True)
        client.reconnect_delay_set(1, 30)
        client.connect_timeout = self._timeout
        client.on_pre_connect = self._before_connecting
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        client.connect_async(self._address.host, self._address.port or (8883 if tls else 1883), _KEEPALIVE)
        client.loop_start()
        return client

    def _wait(self, deadline: float) -> paho.Client:
        """Until there is a connection on which nothing waits to be written; the next failure ends it too."""
        failures = self._failures
        self._changed.wait_for(
            lambda: self._closed or self._refused or failures != self._failures or self._ready,
            deadline - time.monotonic(),
        )
        if self._closed or self._client is None:
            raise TargetFailed(f"{self.name}: closed")
        if self._refused and self._trouble is not None:
            raise self._trouble
        if not self._ready:
            raise self._trouble or TargetFailed(f"{self.name}: the broker takes nothing, or does not answer")
        return self._client

    @property
    def _ready(self) -> bool:
        return self._connected and not self._unwritten

    @property
    def _refused(self) -> bool:
        return isinstance(self._trouble, TargetRefused)

    def _announce(self, client: paho.Client, shown: _Shown) -> None:
        told = config(shown.series, self._availability, shown.expires)
        self._publish(client, config_topic(shown.series), told, retain=True)

    def _publish(self, client: paho.Client, where: str, what: Mapping[str, Any], *, retain: bool = False) -> None:
        """With the lock: `_on_publish` must not come before the number is known."""
        told = client.publish(where, msgspec.json.encode(what), retain=retain)
        if told.rc == paho.MQTT_ERR_SUCCESS:
            self._unwritten.add(told.mid)
        else:
            raise TargetFailed(f"{self.name}: {paho.error_string(told.rc)}")

    def _announce_all(self, client: paho.Client) -> None:
        with self._changed:
            try:
                for shown in self._shown.values():
                    self._announce(client, shown)
            except TargetFailed as error:
                self._trouble = error

    # In the library's thread

    def _before_connecting(self, client: paho.Client, _data: Any) -> None:
        user, password = self._address.user, self._address.password
        if self._token_file is not None:
            try:
                password = read_token(self._token_file)
            except TargetRefused as error:
                self._fail(error)
                return
            if user is None:
                user, _, password = password.partition(":")
        if user is not None:
            client.username_pw_set(user, password)

    def _on_connect(self, client: paho.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            kind = TargetRefused if str(reason) in _REFUSALS else TargetFailed
            self._fail(kind(f"{self.name}: the broker refuses us: {reason}"))
            return
        with self._changed:
            self._unwritten.clear()
            self._trouble = None
            client.publish(self._availability, "online", retain=True)
            client.subscribe(STATUS)
            self._announce_all(client)  # a broker may have forgotten what it was to retain
            self._connected = self._restarted = True
            self._connection += 1
            self._changed.notify_all()

    def _on_connect_fail(self, _client: paho.Client, _data: Any) -> None:
        error = sys.exception()
        why = getattr(error, "verify_message", "") or getattr(error, "strerror", "") or str(error)
        if not self._refused:
            self._fail(TargetFailed(f"{self.name}: no connection: {why}"))

    def _on_disconnect(self, _client: paho.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        with self._changed:
            self._unwritten.clear()
            self._connected = False
        if self._trouble is None:
            self._fail(TargetFailed(f"{self.name}: the connection was lost: {reason}"))

    def _on_publish(self, _client: paho.Client, _data: Any, mid: int, _reason: Any, _properties: Any) -> None:
        with self._changed:
            self._unwritten.discard(mid)
            self._changed.notify_all()

    def _on_message(self, client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        if message.topic == STATUS and message.payload == b"online" and not self._unwritten:
            self._announce_all(client)

    def _fail(self, error: TargetFailed) -> None:
        with self._changed:
            self._trouble = error
            self._failures += 1
            self._changed.notify_all()


def _iso(when: int) -> str:
    seconds, ms = divmod(when, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{ms:03d}Z"
