# SPDX-License-Identifier: GPL-3.0-or-later
"""Simulated devices by name or `sim://` URL, and the way to them.

This package knows no device: the packages that have some register them here by name (`register`), and nothing is
imported before `create` is asked for it. `SimulatedDevice` and its base `FaultyDevice` stand in `simulate_device`,
the pty that carries one in `simulate_pty`, its control socket in `simulate_control`.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from importlib import import_module
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from rockit.common.simulate_control import SimulatorError, control
from rockit.common.simulate_device import Fault, FaultyDevice, Info, SimulatedDevice, number
from rockit.common.simulate_pty import PtyServer, serve

__all__ = [
    "Fault", "FaultyDevice", "Info", "PtyServer", "SimulatedDevice", "SimulatorError",
    "control", "create", "number", "options", "register", "registered", "serve",
]  # fmt: skip

_factories: dict[str, str] = {}

_WORDS = {"1": True, "on": True, "yes": True, "true": True, "0": False, "off": False, "no": False, "false": False}


def register(name: str, factory: str) -> None:
    """Make the device `name` known; `factory` is "module:callable", imported when first asked for.

    The callable takes keyword arguments only, annotated `float`, `int`, `bool` or `str` (these can stand in a URL),
    and `now` (seconds). Raises ValueError when the name already stands for something else.
    """
    if _factories.setdefault(name, factory) != factory:
        raise ValueError(f"a simulated device {name!r} is already registered ({_factories[name]})")


def registered() -> tuple[str, ...]:
    """The names that `create` knows, sorted."""
    return tuple(sorted(_factories))


def options(name: str) -> dict[str, type]:
    """What may stand in the query of `sim://name?...`, with its type. Raises ValueError for an unknown name."""
    return _options(_factory(name))


def create(url_or_name: str, now: float) -> SimulatedDevice:
    """A new device from `t257p` or `sim://t257p?ambient=4&speed=10`, switched on at `now` (seconds).

    The query holds keyword arguments of the device's factory, and any number of `fault=NAME` or `fault=NAME:VALUE`.
    A path (`sim://t257p/second`) only tells two devices of one kind apart. Raises ValueError, saying what there is.
    """
    name, query = _parts(url_or_name)
    factory = _factory(name)
    known = _options(factory)
    given: dict[str, Any] = {}
    faults: list[str] = []
    for key, text in query:
        if key == "fault":
            faults.append(text)
        elif key in given:
            raise ValueError(f"{url_or_name}: {key} is given twice")
        elif key in known:
            given[key] = _value(url_or_name, key, text, known[key])
        else:
            raise ValueError(f"{url_or_name}: {name} has no option {key!r}; it has {_list([*known, 'fault'])}")
    try:
        device: SimulatedDevice = factory(now=now, **given)
    except ValueError as error:
        raise ValueError(f"{url_or_name}: {error}") from None
    for text in faults:
        fault, _, value = text.partition(":")
        try:
            device.set_fault(fault, value.replace(":", " ") or "on")
        except KeyError:
            raise ValueError(f"{url_or_name}: {name} has no fault {fault!r}; it has {_list(device.faults())}") from None
        except ValueError as error:
            raise ValueError(f"{url_or_name}: fault {error}") from None
    return device


def _parts(url_or_name: str) -> tuple[str, list[tuple[str, str]]]:
    if "://" not in url_or_name:
        return url_or_name, []
    parts = urlsplit(url_or_name)
    if parts.scheme != "sim" or not parts.netloc:
        raise ValueError(f"{url_or_name}: a simulated device is written sim://NAME?option=value")
    try:
        query = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise ValueError(f"{url_or_name}: after the ? stand option=value, joined by &") from None
    return parts.netloc, query


def _factory(name: str) -> Callable[..., Any]:
    if name not in _factories:
        raise ValueError(f"no simulated device {name!r}; there is {_list(_factories)}")
    module, _, attribute = _factories[name].partition(":")
    factory: Callable[..., Any] = getattr(import_module(module), attribute)
    return factory


def _options(factory: Callable[..., Any]) -> dict[str, type]:
    """The keyword arguments of `factory` that can be written in a URL; a subclass's **kwargs go to its base."""
    found: dict[str, type] = {}
    chain: list[Callable[..., Any]] = [factory]
    if inspect.isclass(factory):
        chain = [vars(cls)["__init__"] for cls in factory.__mro__ if "__init__" in vars(cls) and cls is not object]
    for call in chain:
        hints = typing.get_type_hints(call)
        parameters = inspect.signature(call).parameters.values()
        for parameter in parameters:
            if parameter.kind is parameter.KEYWORD_ONLY and hints.get(parameter.name) in (float, int, bool, str):
                found.setdefault(parameter.name, hints[parameter.name])
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            break
    return found


def _value(url: str, key: str, text: str, kind: type) -> float | int | bool | str:
    try:
        if kind is bool:
            return _WORDS[text.lower()]
        if kind is float:
            return number(text, -1e9, 1e9)
        return int(text) if kind is int else text
    except KeyError:
        raise ValueError(f"{url}: {key} is 0 or 1, not {text!r}") from None
    except ValueError as error:
        raise ValueError(f"{url}: {key}: {error}") from None


def _list(names: typing.Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
