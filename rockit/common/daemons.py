# SPDX-License-Identifier: GPL-3.0-or-later
"""The phone book: `from rockit.common import daemons; with daemons.clasp_chiller.connect() as chiller: …`.

Attributes are the names of the registry (see `rockit.common.registry`). `daemons.pyi` beside this file tells a
type checker which client each packaged name gives.
"""

# Underscored, and nothing else imported, so that no name of this module hides a daemon of that name.
from typing import Any as _Any

from rockit.common import registry as _registry
from rockit.common.errors import ConfigError as _ConfigError


def __getattr__(name: str) -> _registry.Daemon[_Any]:
    if name.startswith("_"):
        raise AttributeError(name)
    try:
        return _registry.find(name)
    except _ConfigError as error:
        raise AttributeError(str(error)) from None


def __dir__() -> list[str]:
    return sorted(_registry.registry().daemons)
