# SPDX-License-Identifier: GPL-3.0-or-later
"""URLs of targets: their parts, and what of them may be shown."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, unquote, urlsplit

_SECRET = {"p", "password", "passwd", "token", "access_token", "auth", "key", "sslpassword"}
"""Words of a query whose values are nobody's business."""


@dataclass(frozen=True)
class Address:
    """A URL in parts. `user` and `password` are decoded, `path` and `query` as they were written."""

    scheme: str
    user: str | None = None
    password: str | None = None
    host: str = ""
    port: int | None = None
    path: str = ""
    query: str = ""

    @classmethod
    def of(cls, url: str) -> Address:
        """Raises ValueError, with a sentence that shows no secret, for what is no URL."""
        scheme, found, rest = url.partition("://")
        if not found or not scheme:
            raise ValueError("a target is written as a URL, such as https://HOST:8443/batch")
        if not url.isprintable() or " " in url:
            raise ValueError(f"the {scheme}:// URL has a space or an unprintable character in it; write %20")
        try:
            parts = urlsplit(f"//{rest}")
            host = parts.hostname or ""
            host.encode("idna")
        except ValueError:  # whose text may show the password
            raise ValueError(
                f"the {scheme}:// URL names a host that cannot be: is a letter wrong, or a ] missing?"
            ) from None
        try:
            port = parts.port
        except ValueError:
            port = 0
        if port == 0 or "@" in parts.path + parts.query:
            raise ValueError(
                f"the {scheme}:// URL must have a number from 1 to 65535 for its port; in a password, / : @ # ? are"
                " written as %2F %3A %40 %23 %3F"
            )
        if parts.fragment:
            raise ValueError(f"the {scheme}:// URL has a # in it; in a password it is written as %23")
        return cls(
            scheme.lower(),
            None if parts.username is None else unquote(parts.username),
            None if parts.password is None else unquote(parts.password),
            host,
            port,
            parts.path,
            parts.query,
        )

    @property
    def name(self) -> str:
        """The URL without secrets: the same, whatever the password is."""
        user = f"{quote(self.user)}@" if self.user else ""
        query = f"?{self.shown_query}" if self.shown_query else ""
        return f"{self.scheme}://{user}{self.place}{self.path}{query}"

    @property
    def place(self) -> str:
        """Host and port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"

    @property
    def shown_query(self) -> str:
        """The query without secrets."""
        words = (word for word in self.query.split("&") if word)
        return "&".join(word for word in words if word.partition("=")[0].lower() not in _SECRET)

    @property
    def secret_query(self) -> bool:
        """Whether there is a secret in the query."""
        return any(key.lower() in _SECRET for key, _ in parse_qsl(self.query))

    @property
    def loopback(self) -> bool:
        """Whether what is sent there stays on this machine."""
        if self.host == "localhost":
            return True
        from ipaddress import ip_address

        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False
