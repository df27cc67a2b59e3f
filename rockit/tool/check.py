# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks a config file of any kind, and writes the JSON Schemas of all kinds."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path

import msgspec

from rockit.common import config
from rockit.common.errors import ConfigError

KINDS = {
    "chillerd": ("rockit.chiller.config", "ChillerConfig"),
    "boilerd": ("rockit.boiler.config", "BoilerConfig"),
    "meterd": ("rockit.meter.config", "MeterdConfig"),
    "registry": ("rockit.common.registry", "Registry"),
}
"""Kind -> where its config class is."""


def config_class(kind: str) -> type[msgspec.Struct]:
    """The config class of a kind."""
    module, name = KINDS[kind]
    found: type[msgspec.Struct] = getattr(import_module(module), name)
    return found


def guess(path: str) -> str:
    """The kind of a config, by its folder (`/etc/chillerd/`) or by the keys it has. Raises ConfigError."""
    for part in reversed(Path(path).resolve().parts):
        if part in KINDS:
            return part
    try:
        raw = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(path, ["there is no such file"]) from None
    except (OSError, ValueError, RecursionError):
        return "chillerd"  # its own check says what is wrong with the file
    if isinstance(raw, dict) and {"machines", "daemons"} & raw.keys():
        return "registry"
    keys = raw.keys() if isinstance(raw, dict) else set()
    return "meterd" if "meters" in keys else "boilerd" if {"relays", "relay_port"} & keys else "chillerd"


def check_file(path: str, kind: str | None) -> str:
    """`valid` and as what. Raises ConfigError that lists everything wrong."""
    kind = kind or guess(path)
    config.load(path, config_class(kind))
    return f"valid {kind} config" if kind != "registry" else "valid registry"


def write_schemas(folder: Path) -> None:
    """Write the JSON Schema of every kind into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind in KINDS:
        text = json.dumps(config.schema(config_class(kind)), indent=2, sort_keys=True)
        (folder / f"{kind}.schema.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_schemas(Path(sys.argv[1]))
