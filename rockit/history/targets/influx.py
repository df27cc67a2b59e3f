# SPDX-License-Identifier: GPL-3.0-or-later
"""InfluxDB's line protocol over HTTP: a second copy for Grafana and the like.

`rockit,device=clasp_chiller,site=clasp water_temp=11.5,flow=7.2 1760000000123`: one measurement, site and device as
tags, the keys as fields. InfluxDB, VictoriaMetrics (where it becomes `rockit_water_temp{device=…,site=…}`), QuestDB and
Telegraf take it.

The protocol has no word for quality and no use for our events: bad samples and events stay at home. Numbers are written
so that they read back as the same number; VictoriaMetrics keeps 14 to 15 digits of them.
"""

from __future__ import annotations

import gzip
import re
from base64 import b64encode
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote

from rockit.common.quality import Quality
from rockit.history.targets.credentials import read_token
from rockit.history.targets.link import TIMEOUT, Answer, Link, confirmed

if TYPE_CHECKING:
    from rockit.history.model import Batch
    from rockit.history.targets.address import Address

MEASUREMENT = "rockit"
_TAKEN = 204
"""What InfluxDB and all who imitate it say of lines that they have taken; its 200 means that something went wrong."""
_SPECIAL = re.compile(r"([,= ])")
_DOUBTFUL = re.compile(r"[\x00-\x1f\x7f]|\\(?=[,= \\]|$)")


class InfluxTarget:
    """A server that takes lines. It may lose what it has taken when it is killed (VictoriaMetrics does)."""

    live = False
    loses = True

    def __init__(
        self, address: Address, token_file: str | None = None, ca_file: str | None = None, timeout: float = TIMEOUT
    ) -> None:
        self.name = address.name
        self._link = Link(address, tls=address.scheme == "influx+https", ca_file=ca_file, timeout=timeout)
        self._address = address
        self._token_file = token_file
        path = address.path if address.path.strip("/") else "/write"
        query = address.query
        if "precision" not in dict(parse_qsl(query)):
            query += "&precision=ms" if query else "precision=ms"
        self._path = quote(f"{path}?{query}", safe="/%?&=+~!$'()*,;:@-._[]")
        self._packed = True

    def send(self, batch: Batch) -> None:
        """Return when the server has taken the samples. Raises TargetFailed."""
        text = lines(batch)
        if not text:
            return
        answer = self._post(text.encode())
        if self._packed and answer.status in (400, 415) and "gzip" in answer.text.lower():  # QuestDB
            self._packed = False
            answer = self._post(text.encode())
        if answer.status in (400, 422) and "retention policy" in answer.text:
            return  # too old for what somebody has told this server to keep: it took the others, and never takes those
        confirmed(self._link, answer, _TAKEN)

    def restarted(self) -> bool:
        """Whether the server has ended the connection since this was asked last: then it may have been restarted."""
        return self._link.restarted()

    def close(self) -> None:
        """End the connection, and a `send` that waits."""
        self._link.close()

    def _post(self, body: bytes) -> Answer:
        headers = {"Content-Type": "text/plain; charset=utf-8", **self._who()}
        if self._packed:
            headers["Content-Encoding"] = "gzip"
            body = gzip.compress(body, 5)
        return self._link.post(self._path, body, headers)

    def _who(self) -> dict[str, str]:
        if self._token_file is not None:
            token = read_token(self._token_file)
            if " " not in token:  # else it says itself of what sort it is
                token = f"{'Token' if self._address.path.startswith('/api/v2/') else 'Bearer'} {token}"
            return {"Authorization": token}
        if self._address.user is not None:
            pair = f"{self._address.user}:{self._address.password or ''}"
            return {"Authorization": f"Basic {b64encode(pair.encode()).decode()}"}
        return {}


def lines(batch: Batch) -> str:
    """The believed samples of a batch: a line for what one device measured in one millisecond."""
    heads: list[str] = []
    fields: list[str] = []
    for series in batch.series:
        tags = (("device", series.device), ("site", series.site))
        heads.append(MEASUREMENT + "".join(f",{key}={escaped(value)}" for key, value in tags if value))
        fields.append(escaped(series.key.replace('"', "_")))  # some readers take a quote for a text's
    points: dict[tuple[str, int], dict[str, float]] = {}
    for index, time, value, quality in batch.samples:
        if quality != Quality.BAD:
            points.setdefault((heads[index], time), {}).setdefault(fields[index], value)
    return "".join(
        f"{head} {','.join(f'{field}={value!r}' for field, value in values.items())} {time}\n"
        for (head, time), values in points.items()
    )


def escaped(name: str) -> str:
    """A name as tag value or field key.

    The protocol has no way to write a line break; and of a backslash before a comma, an equals sign, a space, another
    backslash or the end, its readers think differently. In the place of those comes an underscore.
    """
    return _SPECIAL.sub(r"\\\1", _DOUBTFUL.sub("_", name))
