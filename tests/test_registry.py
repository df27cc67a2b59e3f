# SPDX-License-Identifier: GPL-3.0-or-later
"""The registry and the phone book on top of it."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from harness import ROOT

import rockit.chiller.client
from rockit.chiller.config import ChillerConfig
from rockit.common import config, daemons, registry
from rockit.common.errors import ConfigError
from rockit.common.remote.client import Client, UntypedClient

PACKAGED: dict[str, Any] = json.loads(registry.PACKAGED.read_text())


@pytest.fixture(autouse=True)
def packaged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("ROCKIT_DAEMONS_PATH", raising=False)
    monkeypatch.setattr(registry, "SYSTEM", tmp_path / "no" / "daemons.json")


def write(path: Path, port: int = 9042, **more: Any) -> Path:
    entry = {"object_id": "mine_daemon", "machine": "Here", "port": port, **more}
    path.write_text(json.dumps({"machines": {"Here": ["192.0.2.1", "2001:db8::1"]}, "daemons": {"mine": entry}}))
    return path


def test_the_packaged_chiller_is_where_the_contract_says() -> None:
    assert daemons.clasp_chiller.uri == "PYRO:clasp_chiller_daemon@127.0.0.1:9042"
    assert daemons.clasp_chiller.timeout == 5
    assert repr(daemons.clasp_chiller) == "<daemon clasp_chiller at PYRO:clasp_chiller_daemon@127.0.0.1:9042>"
    with daemons.clasp_chiller.connect() as chiller:
        assert type(chiller) is rockit.chiller.client.Client
        assert chiller.timeout == 5
    with daemons.clasp_chiller.connect(0.5) as chiller:
        assert chiller.timeout == 0.5


@pytest.mark.parametrize(
    ("name", "port"), [("localhost_test", 9000), *((f"localhost_test{n}", 8999 + n) for n in range(2, 6))]
)
def test_the_test_slots_of_rockit_are_there(name: str, port: int) -> None:
    found = registry.find(name)
    assert (found.host, found.port) == ("127.0.0.1", port)
    assert getattr(daemons, name).uri == found.uri


def test_a_daemon_of_no_known_kind_has_a_client_of_which_every_name_is_a_method() -> None:
    for name in ("clasp_power", "localhost_test"):
        assert type(getattr(daemons, name).connect()) is UntypedClient
    assert not hasattr(daemons.clasp_chiller.connect(), "swich")


def test_a_kind_that_is_not_installed_has_one_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROCKIT_DAEMONS_PATH", str(write(tmp_path / "d.json", kind="telescope")))
    assert type(daemons.mine.connect()) is UntypedClient


def test_the_file_of_the_environment_then_of_the_machine_then_of_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert registry.path() == registry.PACKAGED
    system = write(tmp_path / "system.json", 9100)
    monkeypatch.setattr(registry, "SYSTEM", system)
    assert daemons.mine.port == 9100
    monkeypatch.setenv("ROCKIT_DAEMONS_PATH", str(write(tmp_path / "own.json", 9200)))
    assert daemons.mine.port == 9200
    with pytest.raises(AttributeError, match="unknown daemon name 'clasp_chiller'"):
        _ = daemons.clasp_chiller
    monkeypatch.setenv("ROCKIT_DAEMONS_PATH", "")
    assert daemons.mine.port == 9100
    monkeypatch.setenv("ROCKIT_DAEMONS_PATH", str(tmp_path / "none.json"))
    with pytest.raises(ConfigError, match="there is no such file"):
        registry.find("mine")


def test_a_changed_file_is_read_again_without_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "d.json", 9300)
    monkeypatch.setenv("ROCKIT_DAEMONS_PATH", str(path))
    assert daemons.mine.port == 9300
    for port in range(9301, 9320):
        replacement = write(tmp_path / "new.json", port)
        replacement.replace(path)
        assert daemons.mine.port == port
    path.write_text("{")
    with pytest.raises(ConfigError, match="not valid JSON"):
        registry.find("mine")
    write(path, 9400)
    assert daemons.mine.port == 9400


def test_an_ipv6_address_stands_in_brackets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "d.json"
    entry = {"object_id": "x", "machine": "Six", "port": 9000}
    path.write_text(json.dumps({"machines": {"Six": ["2001:db8::1"]}, "daemons": {"x": entry}}))
    monkeypatch.setenv("ROCKIT_DAEMONS_PATH", str(path))
    assert daemons.x.uri == "PYRO:x@[2001:db8::1]:9000"


@pytest.mark.parametrize("name", ["clasp_chillr", "clasp_chiler", "claspchiller"])
def test_an_unknown_name_comes_with_the_one_that_was_meant(name: str) -> None:
    with pytest.raises(ConfigError, match=f"unknown daemon name '{name}'; did you mean clasp_chiller") as caught:
        registry.find(name)
    assert caught.value.source == str(registry.PACKAGED)
    with pytest.raises(AttributeError, match="did you mean clasp_chiller"):
        getattr(daemons, name)


def test_a_name_like_no_other_says_where_to_add_it() -> None:
    with pytest.raises(AttributeError, match=f"unknown daemon name 'nonsense'; add it to {registry.PACKAGED}"):
        _ = daemons.nonsense


@pytest.mark.parametrize(
    "name", ["datetime", "Any", "annotations", "find", "registry", "Daemon", "ConfigError", "os", "path", "_private"]
)
def test_what_a_module_happens_to_have_is_no_daemon(name: str) -> None:
    with pytest.raises(AttributeError):
        getattr(daemons, name)
    with pytest.raises(ConfigError):
        registry.find(name)


def test_the_phone_book_lists_its_names() -> None:
    assert dir(daemons) == sorted(PACKAGED["daemons"])


def test_unknown_machines_come_all_at_once() -> None:
    assert registry.addresses(["LocalHost", "CLASPTCS"]) == {"127.0.0.1", "::1", "10.2.6.181"}
    with pytest.raises(ConfigError) as caught:
        registry.addresses(["CLASPTC", "LocalHost", "Mars"])
    assert len(caught.value.problems) == 2
    assert "did you mean CLASPTCS" in caught.value.problems[0]


def test_a_daemon_on_no_machine_and_two_on_one_port_are_told() -> None:
    entry = {"object_id": "x", "machine": "A", "port": 9000}
    content = {
        "machines": {"A": ["192.0.2.1"]},
        "daemons": {"one": entry, "two": entry, "three": {**entry, "machine": "B"}},
    }
    with pytest.raises(ConfigError) as caught:
        config.parse(json.dumps(content), registry.Registry, "d.json")
    assert caught.value.problems == [
        "daemons.two.port: 9000 on A is already one's", "daemons.three.machine: B is not one of the machines",
    ]  # fmt: skip


def test_without_control_machines_this_machine_alone_by_every_address_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who calls from the same machine comes from the address that the daemon listens on, not from 127.0.0.1."""
    monkeypatch.setenv("ROCKIT_DAEMONS_PATH", str(write(tmp_path / "d.json")))
    keys: dict[str, Any] = {"daemon": "mine", "log_name": "x", "serial_port": "/dev/x"}
    loaded = config.parse(json.dumps(keys), ChillerConfig, "x")
    assert loaded.allowed() == {"127.0.0.1", "::1", "192.0.2.1", "2001:db8::1"}
    loaded = config.parse(json.dumps({**keys, "control_machines": []}), ChillerConfig, "x")
    assert loaded.allowed() == set(), "none is none"


def test_the_copy_in_config_is_the_packaged_one() -> None:
    assert json.loads((ROOT / "config/daemons.json").read_text()) == PACKAGED


def test_the_type_stub_agrees_with_the_packaged_registry() -> None:
    stub = ast.parse((ROOT / "rockit/common/daemons.pyi").read_text())
    modules = {
        alias.asname or alias.name: (node.module, alias.name)
        for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }  # fmt: skip
    declared = {}
    for node in stub.body:
        if isinstance(node, ast.AnnAssign):
            assert isinstance(node.annotation, ast.Subscript)
            declared[ast.unparse(node.target)] = modules[ast.unparse(node.annotation.slice)]
    expected = {
        name: (f"rockit.{entry['kind']}.client", "Client")
        for name, entry in PACKAGED["daemons"].items()
        if "kind" in entry
    }
    assert declared == expected
    fallback = [node for node in stub.body if isinstance(node, ast.FunctionDef)]
    assert [ast.unparse(node.returns) for node in fallback if node.returns] == ["Daemon[UntypedClient]"]
    assert issubclass(rockit.chiller.client.Client, Client)


def test_looking_a_name_up_imports_neither_pyro_nor_a_command_line_library() -> None:
    script = (
        "import sys; from rockit.common import daemons; print(daemons.clasp_chiller.uri);"
        "print([name for name in ('Pyro5', 'click', 'rich', 'serial') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.stdout.splitlines() == ["PYRO:clasp_chiller_daemon@127.0.0.1:9042", "[]"], done.stderr


def test_no_package_escapes_the_layer_contracts() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        settings = tomllib.load(file)["tool"]
    packages = {f"rockit.{path.parent.name}" for path in (ROOT / "rockit").glob("*/__init__.py")}
    assert set(settings["importlinter"]["root_packages"]) == packages
    assert set(settings["coverage"]["run"]["source_pkgs"]) == packages
