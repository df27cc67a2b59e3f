# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be wrong with the `history` key of a config. Opens nothing and imports no database."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from rockit.common.daemonconfig import HistoryConfig


def history_problems(config: HistoryConfig | msgspec.UnsetType | None) -> Iterator[tuple[str, str]]:
    """(path of the key, what is wrong with it)."""
    if config is None or isinstance(config, msgspec.UnsetType):
        return
    if not config.site.isprintable():
        yield "history.site", "must be a name of printable characters"
    if config.url is not None:
        from rockit.history.database import parsed  # only where somebody names one: it is slow to import

        try:
            parsed(config.url)
        except ValueError as error:
            yield "history.url", str(error)
    if config.forward:
        from rockit.history.targets import problems

        for index, target in enumerate(config.forward):
            for text in problems(target.url, target.token_file):
                yield f"history.forward[{index}].url", text
    names = [target.url for target in config.forward]
    for index, url in enumerate(names):
        if url in names[:index]:
            yield f"history.forward[{index}].url", "is there twice"
