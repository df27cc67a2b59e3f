# SPDX-License-Identifier: GPL-3.0-or-later
"""JSON file -> typed struct, with every error at once and each error with its path.

A config class is a frozen `msgspec.Struct`; what one field alone must satisfy stands in its type
(`Annotated[float, msgspec.Meta(gt=0)]`), what several must satisfy together in a method
`problems() -> Iterator[tuple[str, str]]` that yields (path, sentence).
"""

from __future__ import annotations

import difflib
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import msgspec

from rockit.common.errors import ConfigError

C = TypeVar("C", bound=msgspec.Struct)


def load(path: str | Path, cls: type[C], *, others: bool = False) -> C:
    """Read and check a config file; with `others`, only the keys of `cls`, whatever else is in it.

    Raises ConfigError that lists all that is wrong.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")  # with or without the mark that some editors put first
    except FileNotFoundError:
        raise ConfigError(str(path), ["there is no such file"]) from None
    except IsADirectoryError:
        raise ConfigError(str(path), ["this is a folder; name the JSON file in it"]) from None
    except PermissionError:
        raise ConfigError(str(path), [f"not readable by user id {os.geteuid()}; check its owner and mode"]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), [f"cannot be read: {error}"]) from None
    return parse(text, cls, str(path), others=others)


def parse(text: str, cls: type[C], source: str, *, others: bool = False) -> C:
    """Check the text of a config as `load` does; `source` names it in errors. Raises ConfigError."""
    repeated: list[str] = []

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        seen: dict[str, Any] = {}
        for key, value in pairs:
            if key in seen:
                repeated.append(f"{key}: given more than once")
            seen[key] = value
        return seen

    try:
        raw = json.loads(text, object_pairs_hook=unique, parse_float=_number)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise ConfigError(source, [f"not valid JSON at {where}: {error.msg}"]) from None
    except ValueError as error:
        raise ConfigError(source, [f"not usable as JSON: {error}"]) from None
    except RecursionError:
        raise ConfigError(source, ["nested too deeply to be a config"]) from None
    if not isinstance(raw, dict):
        raise ConfigError(source, ["the file must hold one JSON object, {…}"])
    if others:
        names = {field.encode_name for field in msgspec.structs.fields(cls)}
        raw = {key: value for key, value in raw.items() if key in names}
        repeated = [text for text in repeated if text.partition(":")[0] in names]
    found = list(_check(raw, cls, ""))
    found += _together(*_without(raw, cls, [path for path, _ in found]))
    problems = repeated + [f"{path}: {text}" for path, text in found]
    if problems:
        raise ConfigError(source, problems)
    config: C = msgspec.convert(raw, cls)
    return config


def _number(text: str) -> float | int:
    """9600.0 may stand where an integer is meant; JSON knows one kind of number."""
    number = float(text)
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def _check(raw: dict[str, Any], cls: type[msgspec.Struct], at: str) -> Iterator[tuple[str, str]]:
    """What is wrong with each key by itself."""
    fields = {field.encode_name: field for field in msgspec.structs.fields(cls)}
    for key in raw:
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1)
            yield at + key, "unknown key" + (f"; did you mean {near[0]}?" if near else "")
    for name, field in fields.items():
        if name not in raw:
            if field.required:
                yield at + name, "required, and not there"
            continue
        yield from _check_value(raw[name], field.type, at + name)


def _check_value(value: Any, kind: Any, at: str) -> Iterator[tuple[str, str]]:
    struct = _struct_of(kind)
    if struct is not None and isinstance(value, dict):
        yield from _check(value, struct, at + ".")
        return
    inside = list(_check_items(value, kind, at))
    if inside:
        yield from inside
        return
    if not _finite(value):
        yield at, "must be a finite number" if isinstance(value, float) else "holds a number that is not finite"
        return
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        text, _, inner = str(error).partition(" - at `$")
        if text == "Expected `null`" or (kind is type(None)):
            text = "not available in this version; leave it out"
        yield at + inner.rstrip("`"), text[:1].lower() + text[1:].replace("`", "")


def _check_items(value: Any, kind: Any, at: str) -> Iterator[tuple[str, str]]:
    """What is wrong with each item of a dict or a list by itself."""
    for candidate in (kind, *get_args(kind)):  # `list[str] | None` and `Annotated[list[str], …]` hold it one level down
        if get_origin(candidate) is dict and isinstance(value, dict):
            for key, item in value.items():
                yield from _check_value(item, get_args(candidate)[1], f"{at}.{key}")
        elif get_origin(candidate) is list and isinstance(value, list):
            for index, item in enumerate(value):
                yield from _check_value(item, get_args(candidate)[0], f"{at}[{index}]")


def _struct_of(kind: Any) -> type[msgspec.Struct] | None:
    """The struct in a type, or in an optional of it."""
    if get_origin(kind) is dict:
        return None
    for candidate in (kind, *get_args(kind)):
        if isinstance(candidate, type) and issubclass(candidate, msgspec.Struct):
            return candidate
    return None


def _finite(value: Any) -> bool:
    """Whether all numbers in it are finite: Python's JSON knows NaN and Infinity, and no limit catches NaN."""
    if isinstance(value, list):
        return all(map(_finite, value))
    if isinstance(value, dict):
        return all(map(_finite, value.values()))
    return not isinstance(value, float) or math.isfinite(value)


def _without(raw: dict[str, Any], cls: type[C], paths: list[str]) -> tuple[dict[str, Any], type[C], set[str]]:
    """What is left where `paths` are wrong by themselves, and the keys that are wrong.

    Of an object inside, only its own wrong keys go, where it can do without them.
    """
    raw, bad = dict(raw), set()
    types = {field.encode_name: field.type for field in msgspec.structs.fields(cls)}
    for path in paths:
        key, _, rest = path.replace("[", ".").partition(".")
        inner = _key_of(rest)
        struct = _struct_of(types[key]) if key in types else None
        held = raw.get(key)
        if struct is None or not inner or not isinstance(held, dict):
            bad.add(key)
            continue
        if any(field.required and field.encode_name == inner for field in msgspec.structs.fields(struct)):
            bad.add(key)
        raw[key] = {name: value for name, value in held.items() if name != inner}
    return raw, cls, bad


def _together(raw: dict[str, Any], cls: type[C], bad: set[str]) -> Iterator[tuple[str, str]]:
    """What is wrong between keys, as far as it can be told when the keys `bad` are wrong by themselves."""
    fields = {field.encode_name: field for field in msgspec.structs.fields(cls)}
    bad = bad & set(fields)
    good = {name: field for name, field in fields.items() if name in raw and name not in bad}
    values = {field.name: msgspec.convert(raw[name], field.type) for name, field in good.items()}
    # A bad key is as if it were not given; what the checks then say of it or of others because of it, is not passed on.
    missing = [field for name, field in fields.items() if field.required and name not in good]
    values |= {field.name: {dict: {}, list: []}.get(get_origin(field.type)) for field in missing}
    for path, text in getattr(cls(**values), "problems", tuple)():
        if _key_of(path) not in bad and not any("_" in key and key in text for key in bad):
            yield path, text


def _key_of(path: str) -> str:
    return path.replace("[", ".").split(".")[0]


def find(kind: str, given: str | None = None, *, positional: bool = False) -> Path:
    """The config file of daemon kind `chillerd`, where it is looked for.

    `CHILLERD_CONFIG_PATH` names it; else `given`, a file or a name in the config folder; else the only `*.json` in
    `/etc/chillerd` (`CHILLERD_CONFIG_ROOT` moves the folder). A `positional` argument of the daemon itself is
    stronger than the environment. Raises ConfigError that lists what there is.
    """
    variable = f"{kind.upper()}_CONFIG_PATH"
    root = Path(os.environ.get(f"{kind.upper()}_CONFIG_ROOT") or f"/etc/{kind}")
    from_environment = os.environ.get(variable)
    if from_environment and not (given and positional):
        return Path(from_environment)
    if given:
        if os.path.isfile(given) or os.sep in given or given.endswith(".json"):
            return Path(given)
        named = root / f"{given}.json"
        if os.path.exists(named):
            return named
        raise ConfigError(given, [f"neither a file nor one of the configs in {root}: {_names(root)}"])
    found = sorted(root.glob("*.json"))
    if len(found) == 1:
        return found[0]
    what = "no config there" if not found else f"several configs there: {_names(root)}"
    raise ConfigError(str(root), [f"{what}; name one with -c, or set {variable} to a file"])


def _names(root: Path) -> str:
    names = sorted(path.stem for path in root.glob("*.json"))
    return ", ".join(names) if names else "there are none"


def schema(cls: type[msgspec.Struct]) -> dict[str, Any]:
    """The JSON Schema of a config class."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(cls)}
