"""Collecting settings: argument over environment over file, and words that are none are refused where they stand."""

import pytest

from monorail.errors import SettingError
from monorail.serve import resolve_settings
from monorail.settings import SETTINGS

FLAG = next(s.name for s in SETTINGS if s.type == "bool")
MODEL = next(s for s in SETTINGS if s.scope == "model" and s.type == "int")


def test_nothing_said_is_nothing():
    assert resolve_settings({"port": None}, environment={}) == {}


def test_argument_over_environment_over_file(tmp_path):
    (tmp_path / "monorail.toml").write_text('[serve]\nhost = "a"\nport = 1\nthreads = 1\n')
    environment = {"MONORAIL_PORT": "2", "MONORAIL_THREADS": "2", "OTHER": "x"}
    assert resolve_settings({"threads": 3}, environment=environment) == {"host": "a", "port": 2, "threads": 3}


def test_settings_of_one_model(tmp_path):
    (tmp_path / "other.toml").write_text(f"[models.flights]\n{MODEL.name} = 5\n")
    settings = resolve_settings({}, file=tmp_path / "other.toml", environment={})
    assert settings == {"models": {"flights": {MODEL.name: 5}}}


@pytest.mark.parametrize(("text", "value"), [("1", True), ("TRUE", True), ("off", False), ("no", False)])
def test_bools_in_the_environment(text, value):
    assert resolve_settings({}, environment={f"MONORAIL_{FLAG.upper()}": text}) == {FLAG: value}


@pytest.mark.parametrize(
    ("arguments", "file", "environment", "place"),
    [
        ({"prot": 1}, "", {}, "argument prot"),
        ({"port": "x"}, "", {}, "argument port"),
        ({"port": True}, "", {}, "argument port"),
        ({FLAG: 1}, "", {}, FLAG),
        ({}, "[serve]\nprot = 1", {}, "[serve]"),
        ({}, "[serve]\nport = 1.5", {}, "[serve]"),
        ({}, "[server]\nport = 1", {}, "[server]"),
        ({}, "serve = 1", {}, "[serve]"),
        ({}, "models = 1", {}, "models"),
        ({}, "[models.a]\nport = 1", {}, "[models.a]"),
        ({}, "[serve", {}, "monorail.toml"),
        ({}, "", {"MONORAIL_PORT": "x"}, "MONORAIL_PORT"),
        ({}, "", {f"MONORAIL_{FLAG.upper()}": "maybe"}, f"MONORAIL_{FLAG.upper()}"),
    ],
)
def test_what_is_wrong_is_refused_with_its_place(arguments, file, environment, place, tmp_path):
    (tmp_path / "monorail.toml").write_text(file)
    with pytest.raises(SettingError) as caught:
        resolve_settings(arguments, environment=environment)
    assert caught.value.code == "setting_invalid"
    assert place in caught.value.message
    assert caught.value.hint


def test_a_near_word_is_suggested():
    with pytest.raises(SettingError) as caught:
        resolve_settings({"prot": 1}, environment={})
    assert caught.value.hint == "did you mean port?"


def test_a_file_that_was_named_must_be_there(tmp_path):
    with pytest.raises(SettingError, match="does not exist"):
        resolve_settings({}, file=tmp_path / "none.toml", environment={})


def test_defaults_are_in_their_ranges():
    for setting in SETTINGS:
        if setting.default is not None and setting.minimum is not None and setting.maximum is not None:
            assert setting.minimum <= float(setting.default) <= setting.maximum
        if setting.choices:
            assert setting.default in setting.choices
