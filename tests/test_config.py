# SPDX-License-Identifier: GPL-3.0-or-later
"""Config files: whatever is wrong is said, all of it, each with its path; what was right for others stays right."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from harness import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from rockit.chiller.config import KIND, ChillerConfig
from rockit.chiller.drivers import DRIVERS
from rockit.common import config, registry
from rockit.common.daemonconfig import state_directory
from rockit.common.errors import ConfigError
from rockit.common.registry import Registry

README = {
    "daemon": "clasp_chiller", "log_name": "chillerd@clasp", "serial_port": "/dev/chiller", "serial_baud": 9600,
    "serial_timeout": 5, "query_delay": 7,
}  # fmt: skip
ORIGINAL = {
    **README, "control_machines": ["CLASPTCS"], "power_daemon": "clasp_power", "power_channels": ["cmos", "swir"],
    "temperature_daemon": "clasp_domealert", "temperature_value_key": "internal_temp",
    "temperature_valid_key": "internal_temp_valid", "antifreeze_enable_limit": 5, "antifreeze_disable_limit": 7,
}  # fmt: skip


@pytest.fixture(autouse=True)
def packaged_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROCKIT_DAEMONS_PATH", str(registry.PACKAGED))
    for name in ("CHILLERD_CONFIG_PATH", "CHILLERD_CONFIG_ROOT"):
        monkeypatch.delenv(name, raising=False)


def parse(text: str) -> ChillerConfig:
    return config.parse(text, ChillerConfig, "test.json")


def problems(text: str | None = None, **keys: Any) -> dict[str, str]:
    """Path -> sentence of everything wrong with the README's config, changed by `keys`, or with `text`."""
    with pytest.raises(ConfigError) as caught:
        parse(json.dumps({**README, **keys}) if text is None else text)
    assert caught.value.source == "test.json"
    found = [problem.partition(": ")[::2] for problem in caught.value.problems]
    assert len(dict(found)) == len(found), "each path once"
    return dict(found)


# What is accepted


def test_the_six_keys_of_the_readme_are_enough() -> None:
    found = parse(json.dumps(README))
    assert (found.serial_baud, found.serial_timeout, found.query_delay) == (9600, 5.0, 7.0)
    assert found.driver == "thermotek-t257p"
    assert (found.antifreeze_enable_limit, found.antifreeze_disable_limit) == (5.0, 7.0)
    assert found.setpoint_limits == (5.0, 45.0)
    assert found.allowed() == {"127.0.0.1", "::1"}


def test_the_original_s_config_is_accepted_with_its_meaning() -> None:
    assert len(ORIGINAL) == 14
    found = parse(json.dumps(ORIGINAL))
    assert found.power_channels == ["cmos", "swir"]
    assert found.temperature_valid_key == "internal_temp_valid"
    assert found.allowed() == {"10.2.6.181"}
    ours = parse((ROOT / "config/clasp/chiller.json").read_text())
    assert ours.allowed() == {"127.0.0.1", "::1", "10.2.6.181"}, "its own machine may command it, too"
    assert msgspec.structs.replace(ours, control_machines=found.control_machines) == found


def test_zeros_that_the_original_accepts_are_accepted() -> None:
    found = parse(json.dumps({**ORIGINAL, "query_delay": 0, "serial_timeout": 0}))
    assert (found.query_delay, found.serial_timeout) == (0.0, 0.0)


@pytest.mark.parametrize(("written", "read"), [("9600.0", 9600), ("9.6e3", 9600), ("19200", 19200)])
def test_a_whole_number_may_have_a_decimal_point(written: str, read: int) -> None:
    text = json.dumps({**README, "serial_baud": 0}).replace('"serial_baud": 0', f'"serial_baud": {written}')
    baud = parse(text).serial_baud
    assert (baud, type(baud)) == (read, int)


@pytest.mark.parametrize("key", ["alarms", "notify", "metrics", "tls"])
def test_keys_that_are_reserved_take_null_alone(key: str) -> None:
    assert parse(json.dumps({**README, key: None}))
    for value in ({}, False, "sqlite:///x", 0):
        assert problems(**{key: value}) == {key: "not available in this version; leave it out"}


def test_what_is_wrong_with_a_history_is_told_with_its_path() -> None:
    assert parse(json.dumps({**README, "history": None})).history is None
    assert isinstance(parse(json.dumps(README)).history, msgspec.UnsetType), "absent is not null"
    assert problems(history=False) == {"history": "expected `object | null`, got `bool`".replace("`", "")}
    assert problems(history={"keep_raw_days": 0}) == {"history.keep_raw_days": "expected int >= 1"}
    assert problems(history={"ulr": "sqlite:////x"}) == {"history.ulr": "unknown key; did you mean url?"}
    assert "there is sqlite:////folder/file" in problems(history={"url": "mysql://x/y"})["history.url"]
    assert "needs a file" in problems(history={"url": "sqlite://"})["history.url"]
    forward = [{"url": "influx+http://127.0.0.1:8428/write"}, {"url": "ftp://x"}, {"url": "https://a.b:8443/batch"}]
    found = problems(history={"forward": forward})
    assert set(found) == {"history.forward[1].url", "history.forward[2].url"}
    assert "needs a token_file" in found["history.forward[2].url"]
    twice = [{"url": "mqtt://127.0.0.1"}, {"url": "mqtt://127.0.0.1"}]
    assert problems(history={"forward": twice}) == {"history.forward[1].url": "is there twice"}


def test_optional_keys_may_be_null() -> None:
    parse(json.dumps({**README, "control_machines": None, "power_daemon": None, "setpoint_rate": None,
                      "antifreeze_enable_limit": None, "antifreeze_disable_limit": None}))  # fmt: skip


# What is not


def test_everything_wrong_is_told_at_once_with_its_path() -> None:
    found = problems(
        daemon="clasp_chiler", log_name=None, serial_baud=0, serial_timeout="5", serial_parity="odd", query_delay=-7,
        control_machines=["CLASPTCS", None, 5], power_daemon="datetime", power_channels="cmos", drivr="x", tls={},
        setpoint_limits=[5, None], antifreeze_enable_limit=8, antifreeze_disable_limit=7, driver="thermotek",
    )  # fmt: skip
    assert set(found) == {
        "daemon", "log_name", "serial_baud", "serial_timeout", "serial_parity", "query_delay",
        "control_machines[1]", "control_machines[2]",
        "power_daemon", "power_channels", "drivr", "tls", "setpoint_limits[1]", "antifreeze_disable_limit", "driver",
    }  # fmt: skip
    assert found["daemon"].startswith("unknown daemon name 'clasp_chiler'; did you mean clasp_chiller")
    assert "8" in found["antifreeze_disable_limit"]


def test_names_are_checked_also_when_other_keys_are_missing() -> None:
    text = json.dumps({"daemon": "nowhere", "control_machines": ["Nobody"], "query_delay": -1})
    assert set(problems(text)) == {"daemon", "control_machines[0]", "query_delay", "log_name", "serial_port"}


def test_a_wrong_key_is_not_blamed_on_its_neighbour() -> None:
    assert set(problems(antifreeze_enable_limit="cold", antifreeze_disable_limit=3)) == {"antifreeze_enable_limit"}
    assert set(problems(power_daemon=5, power_channels=["cmos"])) == {"power_daemon"}


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("query_delay", -1, ">= 0"), ("state_directory", "relative", "must begin with /"),
        ("query_delay", "7", "expected float, got str"),
        ("query_delay", True, "got bool"), ("query_delay", None, "got null"), ("serial_baud", 0, ">= 50"),
        ("serial_baud", -9600, ">= 50"), ("serial_baud", 9600.5, "got float"), ("serial_baud", "9600", "got str"),
        ("serial_baud", 10**30, "4000000"), ("serial_timeout", -1, ">= 0"),
        ("setpoint_limits", [-80, 45], "thermotek-t257p takes -60 to 120"), ("state_directory", "", "length >= 1"),
        ("serial_bytesize", 9, "9"),
        ("serial_parity", "X", "X"), ("serial_stopbits", 1.7, "1, 1.5 or 2"),
        ("serial_port", "", "length >= 1"), ("serial_port", "http://x", "unknown kind of port http://"),
        ("serial_port", "socket://localhost", "must be socket://HOST:PORT"),
        ("serial_port", "rfc2217://terminal:99999", "must be rfc2217://HOST:PORT"),
        ("control_machines", "CLASPTCS", "expected array"),
        ("setpoint_limits", [5], "length 2"), ("setpoint_limits", [45, 5], "must be below"),
        ("setpoint_limits", [5, 5], "must be below"), ("setpoint_limits", [5, 130], "takes -60 to 120"),
        ("antifreeze_disable_limit", 4, "below antifreeze_enable_limit"),
        ("antifreeze_disable_limit", None, "both"), ("setpoint_rate", 0, "> 0"),
        ("dew_point_margin", 2, "humidity_value_key"),
        ("humidity_value_key", "x", "temperature_daemon"), ("temperature_value_key", "x", "temperature_daemon"),
        ("power_channels", ["a"], "power_daemon"), ("power_daemon", "clasp_chiller", "this daemon itself"),
        ("driver", "t257p", ", ".join(sorted(DRIVERS))),
        ("minimum_on_time", -1, ">= 0"), ("state_directory", 5, "got int"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_told_under_its_key(key: str, value: Any, text: str) -> None:
    found = problems(**{key: value})
    assert list(found) == [key]
    assert text in found[key]


@pytest.mark.parametrize(
    ("key", "suggestion"), [("serial_prot", "serial_port"), ("Daemon", "daemon"), ("querydelay", "query_delay")]
)
def test_an_unknown_key_comes_with_the_one_that_was_meant(key: str, suggestion: str) -> None:
    assert problems(**{key: 1}) == {key: f"unknown key; did you mean {suggestion}?"}


def test_an_unknown_key_like_no_other_comes_without_advice() -> None:
    assert problems(zzz=1) == {"zzz": "unknown key"}


@pytest.mark.parametrize("key", ["daemon", "power_daemon", "temperature_daemon"])
@pytest.mark.parametrize("name", ["clasp_chillr", "datetime", "__file__", "os", "find", ""])
def test_an_unknown_daemon_is_told_and_no_module_attribute_is_one(key: str, name: str) -> None:
    found = problems(**{"temperature_value_key": "t", key: name} if key == "temperature_daemon" else {key: name})
    assert found[key].startswith(f"unknown daemon name {name!r}")
    assert ("did you mean clasp_chiller" in found[key]) == (name == "clasp_chillr")


def test_an_unknown_machine_is_told_with_its_place_and_the_one_that_was_meant() -> None:
    found = problems(control_machines=["CLASPTCS", "CLASPTSC"])
    assert list(found) == ["control_machines[1]"]
    assert "CLASPTCS" in found["control_machines[1]"]


def test_a_key_given_twice_is_told_and_not_overruled_in_silence() -> None:
    text = json.dumps(README)[:-1] + ', "query_delay": 3}'
    assert problems(text) == {"query_delay": "given more than once"}


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
@pytest.mark.parametrize("key", ["query_delay", "serial_baud", "antifreeze_enable_limit", "setpoint_limits"])
def test_a_number_that_is_not_finite_is_refused_everywhere(number: str, key: str) -> None:
    value = f"[{number}, 40]" if key == "setpoint_limits" else number
    text = json.dumps({k: v for k, v in README.items() if k != key})[:-1] + f', "{key}": {value}}}'
    found = problems(text)
    assert list(found) == [key]
    assert "finite" in found[key]


def test_bad_json_is_told_with_line_and_column() -> None:
    with pytest.raises(ConfigError, match=r"not valid JSON at line 3, column 3: ") as caught:
        parse('{\n  "daemon": "clasp_chiller"\n  "log_name": "x"\n}')
    assert str(caught.value).startswith("test.json: ")


@pytest.mark.parametrize(
    "text", ["", "[]", "null", "5", '"x"', "[" * 100_000, '{"a":' * 100_000, "9" * 5000, "\ufeff{}", "{'a': 1}"]
)
def test_what_is_no_json_object_is_one_clear_problem(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert len(caught.value.problems) == 1


def test_files_that_cannot_be_read_say_why(tmp_path: Path) -> None:
    binary = tmp_path / "binary.json"
    binary.write_bytes(b"\xff\xfe{}")
    for path, text in (
        (tmp_path / "none.json", "there is no such file"),
        (tmp_path, "this is a folder"),
        (binary, "utf-8"),
    ):
        with pytest.raises(ConfigError, match=text) as caught:
            config.load(path, ChillerConfig)
        assert caught.value.source == str(path)
    if os.geteuid() != 0:  # root reads everything
        binary.chmod(0)
        with pytest.raises(ConfigError, match="not readable by user id"):
            config.load(binary, ChillerConfig)


def test_a_broken_registry_is_told_as_the_registry_s_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "daemons.json"
    broken.write_text("{")
    monkeypatch.setenv("ROCKIT_DAEMONS_PATH", str(broken))
    with pytest.raises(ConfigError) as caught:
        parse(json.dumps(README))
    assert caught.value.source == str(broken)


def test_mistakes_in_the_registry_come_all_at_once_too() -> None:
    text = json.dumps({
        "machines": {"A": [], "B": ["192.0.2.1", 5]},
        "daemons": {"a": {"object_id": "", "machine": "A", "port": 70000, "prt": 3}, "b": {"machine": "A"}, "c": 3},
    })  # fmt: skip
    with pytest.raises(ConfigError) as caught:
        config.parse(text, Registry, "daemons.json")
    assert {problem.partition(": ")[0] for problem in caught.value.problems} == {
        "machines.A", "machines.B[1]", "daemons.a.object_id", "daemons.a.port", "daemons.a.prt", "daemons.b.object_id",
        "daemons.b.port",
        "daemons.c",
    }  # fmt: skip


# Where it is


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "etc"
    folder.mkdir()
    monkeypatch.setenv("CHILLERD_CONFIG_ROOT", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


def test_the_environment_counts_more_than_an_option_and_less_than_an_argument_of_the_daemon(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHILLERD_CONFIG_PATH", "/somewhere/chiller.json")
    assert config.find(KIND) == Path("/somewhere/chiller.json")
    assert config.find(KIND, "other.json") == Path("/somewhere/chiller.json")
    assert config.find(KIND, "other.json", positional=True) == Path("other.json")
    monkeypatch.setenv("CHILLERD_CONFIG_PATH", "")
    assert config.find(KIND, "other.json") == Path("other.json")


def test_an_option_is_a_file_or_a_name(root: Path, tmp_path: Path) -> None:
    (root / "clasp.json").write_text("{}")
    (tmp_path / "here").write_text("{}")
    (tmp_path / "clasp").mkdir()
    assert config.find(KIND, "clasp") == root / "clasp.json", "a folder of that name is not meant"
    assert config.find(KIND, "here") == Path("here")
    assert config.find(KIND, "./clasp.json") == Path("./clasp.json")
    with pytest.raises(ConfigError) as caught:
        config.find(KIND, "clapse")
    assert str(caught.value) == f"clapse: neither a file nor one of the configs in {root}: clasp"


def test_the_only_file_is_taken_and_of_none_or_several_none(root: Path) -> None:
    with pytest.raises(ConfigError, match=r"no config there; name one with -c, or set CHILLERD_CONFIG_PATH"):
        config.find(KIND)
    (root / "clasp.json").write_text("{}")
    (root / "clasp.json.rpmsave").write_text("{}")
    assert config.find(KIND) == root / "clasp.json"
    (root / "half.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"several configs there: clasp, half; name one with -c"):
        config.find(KIND)


def test_without_a_root_it_is_etc(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="/etc/chillerd-test: there are none"):
        config.find("chillerd-test", "x")


def test_state_goes_where_the_config_says_or_says_why_not(tmp_path: Path) -> None:
    wanted = tmp_path / "a" / "b"
    assert state_directory(parse(json.dumps({**README, "state_directory": str(wanted)}))) == wanted
    assert wanted.is_dir()
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"cannot be made: .*name a folder"):
        state_directory(parse(json.dumps({**README, "state_directory": str(tmp_path / "file" / "x")})))


# The schema says the same


def schema_errors(schema: dict[str, Any], value: Any, root_: dict[str, Any]) -> bool:
    """Whether `value` breaks the schema: as much of JSON Schema as ours use; an unknown keyword is an error here."""
    checks = {
        "type": lambda kind: any(_is(value, one) for one in ([kind] if isinstance(kind, str) else kind)),
        "enum": lambda values: value in values,
        "minimum": lambda low: not _is(value, "number") or value >= low,
        "exclusiveMinimum": lambda low: not _is(value, "number") or value > low,
        "maximum": lambda high: not _is(value, "number") or value <= high,
        "minLength": lambda low: not isinstance(value, str) or len(value) >= low,
        "minItems": lambda low: not isinstance(value, list) or len(value) >= low,
        "maxItems": lambda high: not isinstance(value, list) or len(value) <= high,
        "anyOf": lambda options: any(not schema_errors(option, value, root_) for option in options),
        "$ref": lambda ref: not schema_errors(root_["$defs"][ref.rpartition("/")[2]], value, root_),
        "required": lambda keys: not isinstance(value, dict) or all(key in value for key in keys),
        "items": lambda item: not isinstance(value, list) or item is False
        or not any(schema_errors(item, one, root_) for one in value),
        "prefixItems": lambda items: not isinstance(value, list)
        or not any(schema_errors(item, one, root_) for item, one in zip(items, value, strict=False)),
        "properties": lambda known: not isinstance(value, dict)
        or not any(schema_errors(known[key], one, root_) for key, one in value.items() if key in known),
        "additionalProperties": lambda rest: not isinstance(value, dict)
        or not any(rest is False or schema_errors(rest, one, root_)
                   for key, one in value.items() if key not in schema.get("properties", {})),
    }  # fmt: skip
    silent = {"title", "description", "default", "$schema", "$defs"}
    return not all(checks[key](what) for key, what in schema.items() if key not in silent)


def _is(value: Any, kind: str) -> bool:
    if isinstance(value, bool) or value is None:
        return kind == {None: "null"}.get(value, "boolean")
    if isinstance(value, float):
        return kind == "number" or (kind == "integer" and value.is_integer())
    kinds = {int: ("integer", "number"), str: ("string",), list: ("array",), dict: ("object",)}
    return kind in kinds[type(value)]


CHANGES = [
    {}, ORIGINAL, {"serial_baud": 9600.0}, {"serial_baud": 9600.5}, {"serial_baud": -1}, {"query_delay": 0}, {"zzz": 1},
    {"query_delay": "7"}, {"tls": {}}, {"tls": None}, {"setpoint_limits": [5, 40]}, {"setpoint_limits": [5]},
    {"setpoint_limits": [5, "x"]}, {"setpoint_limits": [5, 40, 50]}, {"serial_parity": "E"}, {"serial_parity": "even"},
    {"control_machines": None}, {"control_machines": [5]}, {"log_name": ""}, {"daemon": None}, {"safe_state": "off"},
    {"serial_bytesize": 7}, {"serial_bytesize": 4}, {"minimum_on_time": 600}, {"demand_hold": -1},
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_the_json_schema_accepts_what_loading_accepts(change: dict[str, Any]) -> None:
    value = {**README, **change}
    schema = config.schema(ChillerConfig)
    try:
        parse(json.dumps(value))
    except ConfigError:
        accepted = False
    else:
        accepted = True
    assert schema_errors(schema, value, schema) == (not accepted)


def test_the_json_schema_wants_what_must_be_there_and_nothing_unknown() -> None:
    schema = config.schema(ChillerConfig)
    for key in ("daemon", "log_name", "serial_port"):
        assert schema_errors(schema, {k: v for k, v in README.items() if k != key}, schema)
    found = schema["$defs"]["ChillerConfig"]
    assert set(found["properties"]) == {field.encode_name for field in msgspec.structs.fields(ChillerConfig)}
    registry_schema = config.schema(Registry)
    packaged = json.loads(registry.PACKAGED.read_text())
    assert not schema_errors(registry_schema, packaged, registry_schema)
    packaged["daemons"]["clasp_chiller"]["prt"] = 1
    assert schema_errors(registry_schema, packaged, registry_schema)


# Whatever it is


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = sorted(field.encode_name for field in msgspec.structs.fields(ChillerConfig))


def config_or_problems(text: str, cls: type[msgspec.Struct]) -> msgspec.Struct | list[str]:
    try:
        return config.parse(text, cls, "test.json")
    except ConfigError as error:
        return error.problems


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), anything, max_size=6), st.sets(st.sampled_from(sorted(README))))
def test_any_values_give_a_config_or_a_list_of_what_is_wrong(values: dict[str, Any], left_out: set[str]) -> None:
    content = {**{key: value for key, value in README.items() if key not in left_out}, **values}
    found = config_or_problems(json.dumps(content), ChillerConfig)
    if isinstance(found, ChillerConfig):
        assert math.isfinite(found.query_delay)
        assert found.setpoint_limits[0] < found.setpoint_limits[1]
    else:
        assert found
        assert all(": " in problem for problem in found)


@settings(max_examples=200, deadline=None)
@given(anything)
def test_any_json_gives_a_registry_or_a_list_of_what_is_wrong(value: Any) -> None:
    for text in (
        json.dumps(value),
        json.dumps({"machines": value, "daemons": value}),
        json.dumps({"daemons": {"a": value}}),
    ):
        assert config_or_problems(text, Registry)


@settings(max_examples=200, deadline=None)
@given(st.text() | st.text(alphabet='{}[]":,0123456789.eE+-ntrufals \n\\'))
def test_any_text_gives_nothing_but_a_config_error(text: str) -> None:
    with pytest.raises(ConfigError):
        parse(text)


def test_a_config_in_a_folder_that_may_not_be_entered_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir()
    (folder / "clasp.json").write_text("{}")
    folder.chmod(0)
    was = os.geteuid()
    try:
        if was == 0:  # to whom no mode means anything
            os.seteuid(65534)
        with pytest.raises(ConfigError, match=r"not readable by user id .*; check its owner and mode"):
            config.load(str(config.find("chillerd", str(folder / "clasp.json"))), ChillerConfig)
    finally:
        os.seteuid(was)
        folder.chmod(0o755)
