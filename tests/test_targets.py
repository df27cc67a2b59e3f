# SPDX-License-Identifier: GPL-3.0-or-later
"""URLs of targets: what is wrong with them is told before anything is sent, and no secret is shown."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from importlib.machinery import ModuleSpec
from typing import Any

import msgspec
import pytest
from harness import ROOT
from hypothesis import given
from hypothesis import strategies as st

from rockit.history.targets import KINDS, create, problems
from rockit.history.targets.address import Address

TOKEN = "/etc/rockit/token"


class Forward(msgspec.Struct, frozen=True):
    url: str
    token_file: str | None = None
    ca_file: str | None = None


@pytest.mark.parametrize(
    ("url", "token_file"),
    [
        ("postgresql+psycopg:///rockit", None),
        ("postgresql+psycopg://rockit@localhost/rockit", None),
        ("postgresql+psycopg:///rockit?host=/var/run/postgresql", None),
        ("postgresql+psycopg://rockit@db/rockit?sslmode=verify-full&sslrootcert=/etc/rockit/ca.pem", None),
        ("postgresql+psycopg://rockit:pw@10.0.0.1:5433/rockit?sslmode=disable", None),
        ("https://central.example.org:8443/batch", TOKEN),
        ("http://127.0.0.1:8080", TOKEN),
        ("http://[::1]:8080/batch", TOKEN),
        ("influx+http://db:8428/write?db=rockit", None),
        ("influx+http://me:pw@127.0.0.1:8428/write?db=rockit", None),
        ("influx+https://me:pw@db:8428/write?db=rockit&precision=ms", None),
        ("influx+https://db/api/v2/write?org=o&bucket=b", TOKEN),
        ("mqtt://broker", None),
        ("mqtt://me:pw@localhost:1884", None),
        ("mqtt://me:pw@broker?insecure=1", None),
        ("mqtts://me:pw@broker/", None),
        ("MQTTS://broker", TOKEN),
    ],
)
def test_urls_that_are_right(url: str, token_file: str | None) -> None:
    assert list(problems(url, token_file)) == []
    if not url.startswith("postgresql"):
        target = create(url, Forward(url, token_file))
        assert "pw" not in target.name
        target.close()


@pytest.mark.parametrize(
    ("url", "token_file", "said"),
    [
        ("", None, "a target is written as a URL, such as https://"),
        ("chiller.example.org", None, "a target is written as a URL"),
        (
            "kafka://broker",
            None,
            "unknown kind of target kafka://; there is postgresql+psycopg, https, http, influx+http,",
        ),
        ("influxdb://h:8086", None, "influx+http://127.0.0.1:8428/write?db=rockit"),
        ("https://", TOKEN, "names no host"),
        ("mqtt://:1883", None, "names no host"),
        ("https://host:0/batch", TOKEN, "a number from 1 to 65535 for its port"),
        ("https://host:port/batch", TOKEN, "a number from 1 to 65535 for its port"),
        ("mqtts://me:s3/cret@broker", None, "in a password, / : @ # ? are written as %2F"),
        ("mqtts://me:33/cret@broker", None, "in a password, / : @ # ? are written as %2F"),
        ("mqtts://me:33?cret@broker", None, "in a password, / : @ # ? are written as %2F"),
        ("mqtts://me:cret@bro\u2100ker", None, "a host that cannot be"),
        ("mqtts://me:s3#cret@broker", None, "# ? are written as"),
        ("mqtts://me:s3 cret@broker", None, "a space or an unprintable character"),
        ("https://ho\nst", TOKEN, "a space or an unprintable character"),
        ("https://[::1", TOKEN, "a host that cannot be"),
        (f"https://{'x' * 64}.org", TOKEN, "a host that cannot be"),
        ("https://a..b", TOKEN, "a host that cannot be"),
        ("https://host/batch", None, "needs a token_file"),
        ("https://me:s3cret@host/batch", TOKEN, "takes a token and no password"),
        ("http://host/batch", TOKEN, "would send the token in clear; write https://"),
        ("influx+http://me:s3cret@host/write", None, "in clear; write influx+https://"),
        ("influx+http://host/write?u=me&p=s3cret", None, "in clear; write influx+https://"),
        ("influx+http://host/write", TOKEN, "in clear; write influx+https://"),
        ("influx+http://localhost/write?precision=s", None, "says precision=s; times are sent in ms"),
        ("mqtt://me:s3cret@host", None, "in clear; write mqtts://, or add ?insecure=1"),
        ("mqtt://host", TOKEN, "in clear; write mqtts://, or add ?insecure=1"),
        ("mqtt://host/topic", None, "has a path; the topics are rockit/SITE/DEVICE/KEY"),
        ("mqtt://host?retain=1", None, "says ?retain=1; the only word that is known there is insecure=1"),
        ("postgresql+psycopg://host/rockit", None, "says no sslmode"),
        ("postgresql+psycopg://host/rockit?sslmode=require", None, "does not check whom it talks to"),
        ("postgresql+psycopg://host/rockit?sslmode=verify-full", None, "add &sslrootcert=/etc/rockit/ca.pem"),
        ("postgresql+psycopg:///rockit?host=db:5433", None, "says no sslmode"),
        ("postgresql+psycopg://localhost", None, "names no database"),
        ("postgresql+psycopg://localhost/rockit", TOKEN, "its password belongs in ~/.pgpass"),
    ],
)
def test_urls_that_are_wrong(url: str, token_file: str | None, said: str) -> None:
    [problem] = problems(url, token_file)
    assert said in problem
    assert "s3" not in problem
    assert "cret" not in problem


def test_the_examples_have_no_problems() -> None:
    for url in KINDS.values():
        assert not list(problems(url.replace("HOST", "host"), TOKEN if url.startswith("http") else None)), url


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(name: str, package: str | None = None) -> ModuleSpec | None:
        return None

    monkeypatch.setattr(importlib.util, "find_spec", nothing)
    monkeypatch.setattr("rockit.history.targets.find_spec", nothing)
    assert "pip install 'rockit-plant[mqtt]'" in next(problems("mqtt://localhost"))
    assert "pip install 'rockit-plant[postgresql]'" in next(problems("postgresql+psycopg:///rockit"))
    assert not list(problems("https://host", TOKEN))


def test_the_name_is_the_same_whatever_the_secret_is() -> None:
    for before, after in (
        ("mqtts://me:one@broker", "mqtts://me:two@broker"),
        ("influx+https://h/write?db=x&u=me&p=one", "influx+https://h/write?db=x&u=me&p=two"),
    ):
        assert Address.of(before).name == Address.of(after).name
    assert (
        Address.of("influx+https://me:pw@[::1]:8428/write?db=x&p=pw").name == "influx+https://me@[::1]:8428/write?db=x"
    )
    assert Address.of("mqtt://Broker").name != Address.of("mqtt://other").name


@given(st.text())
def test_any_text_is_judged(text: str) -> None:
    for url in (text, *(f"{kind}://{text}" for kind in KINDS)):
        for problem in problems(url):
            assert problem


@given(st.text(min_size=1), st.text(min_size=1))
def test_a_password_with_anything_in_it(user: str, password: str) -> None:
    from urllib.parse import quote

    try:
        url = f"mqtts://{quote(user, safe='')}:{quote(password, safe='')}@broker:8883"
    except UnicodeEncodeError:  # half of a surrogate pair
        return
    address = Address.of(url)
    assert (address.user, address.password, address.host) == (user, password, "broker")


def test_an_unknown_kind_is_not_made() -> None:
    with pytest.raises(ValueError, match="unknown kind of target kafka://"):
        create("kafka://broker", Forward("kafka://broker"))


def test_judging_imports_nothing_heavy() -> None:
    heavy = {"ssl", "http.client", "paho", "psycopg", "sqlalchemy", "msgspec", "socket", "gzip"}
    program = (
        "import sys; before = set(sys.modules)\n"
        "from rockit.history.targets import problems\n"
        "list(problems('mqtt://h')); list(problems('https://h')); list(problems('influx+http://10.0.0.1'))\n"
        f"print(sorted({heavy!r} & (set(sys.modules) - before)))"
    )
    result: Any = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (result.stdout, result.stderr) == ("[]\n", "")


def test_what_is_no_kind_is_told_in_a_line() -> None:
    [told] = problems("kafka://broker")
    assert told == f"unknown kind of target kafka://; there is {', '.join(KINDS)}"
    assert len(told) < 120
    [told] = problems("influxdb://h:8086")
    assert told.endswith("; such as influx+http://127.0.0.1:8428/write?db=rockit"), "one that looks like it"
