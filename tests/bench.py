# SPDX-License-Identifier: GPL-3.0-or-later
"""For the tests of a family: its codec on bytes split anyhow, and its driver on a simulated unit without a port."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import groupby, pairwise
from typing import Any

from rockit.common.framing import Damage, Damaged, Decoder
from rockit.common.transport import NoAnswer

STEP = 0.01


def decoded(decoder: Decoder[Any], data: bytes, cuts: Iterable[int] = (), *, holds: int | None = None) -> list[Any]:
    """What a decoder makes of `data` that comes split at `cuts`, taken modulo its length; it `holds` so many bytes."""
    out: list[Any] = []
    for start, end in pairwise([0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]):
        out += decoder.feed(data[start:end])
        assert holds is None or len(decoder._buffer) <= holds
    return out + decoder.flush()


def joined(items: list[Any], raw: Callable[[Any], bytes]) -> list[object]:
    """Neighbouring garbage as one: how it is cut depends on how it arrived."""
    out: list[object] = []
    for damage, group in groupby(items, lambda item: item.kind if isinstance(item, Damaged) else None):
        same = list(group)
        out += same if damage is None else [(damage, b"".join(map(raw, same)))]
    return out


class Bench:
    """A line without a port: the device's bytes go to the driver's codec, time passes by counting.

    As `Line` it synchronises when an answer is owed.
    """

    def __init__(self, device: Any, family: Any) -> None:
        self.device = device
        self.now = 0.0
        self.damaged: list[Damage] = []
        self.strange: list[Any] = []
        self.sent: list[bytes] = []
        self.replies: list[Any] = []
        self._decoder = family.decoder()
        self._timeout = family.line_settings.timeout
        self._synchronise = family.synchronise
        self._owed = False
        self.driver = family(self)

    def exchange(self, request: Any) -> Any:
        if self._owed:
            for first in self._synchronise:
                self._exchange(first)
            self._owed = False
        return self._exchange(request)

    def _exchange(self, request: Any) -> Any:
        self._sort(self._decoder.feed(self.device.output(self.now)) + self._decoder.flush())
        self.sent.append(request.data)
        self.device.receive(request.data, self.now)
        for _ in range(round(self._timeout / STEP)):
            self.now += STEP
            frames = self._decoder.feed(self.device.output(self.now))
            for at, frame in enumerate(frames):
                if not isinstance(frame, Damaged) and request.matches(frame):
                    self._sort(frames[:at] + frames[at + 1 :])
                    self.replies.append(frame)
                    return frame
            self._sort(frames)
        self._sort(self._decoder.flush())
        self._owed = True
        raise NoAnswer(request.name)

    def _sort(self, frames: list[Any]) -> None:
        self.damaged += [frame.kind for frame in frames if isinstance(frame, Damaged)]
        self.strange += [frame for frame in frames if not isinstance(frame, Damaged)]

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.device.output(self.now)

    def values(self) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for step in self.driver.poll():
            out |= step
        return out
