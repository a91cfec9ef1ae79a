"""The settings of a server, from four places: argument over ``MONORAIL_*`` over ``monorail.toml`` over default.

Defaults and ranges are Rust's. Here only what the user said is collected, and a word that is no setting is refused with
the place it stands in.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import SettingError
from ..settings import SETTINGS, Setting

#: The file in the working folder that holds settings.
FILE = "monorail.toml"
#: Before a setting's name in the environment.
PREFIX = "MONORAIL_"

_BY_NAME = {setting.name: setting for setting in SETTINGS}
_TYPES: dict[str, type | tuple[type, ...]] = {"bool": bool, "int": int, "float": (int, float), "string": str}


def resolve_settings(
    arguments: Mapping[str, Any],
    *,
    file: str | os.PathLike[str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Collect what was said about settings.

    Args:
        arguments: By name, as arguments or flags said; None counts as not said.
        file: The TOML file; default: ``monorail.toml`` in the working folder, if there is one.
        environment: Default: the process's own.

    Returns:
        The settings that were said, by name; under ``models``, those of single models by model name. What is absent is
        left to Rust's defaults.

    Raises:
        SettingError: ``setting_invalid``, naming the place.
    """
    settings, models = _from_file(file)
    for setting in SETTINGS:
        variable = PREFIX + setting.name.upper()
        text = (os.environ if environment is None else environment).get(variable)
        if text:
            settings[setting.name] = _parsed(setting, text, variable)
    for name, value in arguments.items():
        if value is not None:
            settings[name] = _checked(name, value, f"argument {name}")
    return settings | ({"models": models} if models else {})


def _from_file(file: str | os.PathLike[str] | None) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """``[serve]`` and ``[models.NAME]`` of the file."""
    path = Path(FILE if file is None else file)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if file is None:
            return {}, {}
        raise _invalid(f"{path} does not exist", "name a file that does") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise _invalid(f"{path} cannot be read: {error}", "mend the file") from error
    unknown = sorted(set(content) - {"serve", "models"})
    if unknown:
        raise _invalid(f"{path} has [{unknown[0]}], which is no table of settings", "use [serve] or [models.NAME]")
    serve = _table(content.get("serve", {}), f"{path} [serve]")
    models = content.get("models", {})
    if not isinstance(models, dict):
        raise _invalid(f"{path} has models that are no tables", "write [models.NAME]")
    return serve, {name: _table(table, f"{path} [models.{name}]", "model") for name, table in models.items()}


def _table(table: Any, place: str, scope: str | None = None) -> dict[str, Any]:
    """A table of settings, each checked."""
    if not isinstance(table, dict):
        raise _invalid(f"{place} is no table", "write it in brackets, with settings under it")
    return {name: _checked(name, value, place, scope) for name, value in table.items()}


def _checked(name: str, value: Any, place: str, scope: str | None = None) -> Any:
    """A value, if the setting exists there and is of its type; ranges are Rust's."""
    setting = _BY_NAME.get(name)
    if setting is None:
        near = difflib.get_close_matches(name, _BY_NAME, n=1)
        hint = f"did you mean {near[0]}?" if near else f"settings are {', '.join(_BY_NAME)}"
        raise _invalid(f"{place}: {name!r} is no setting", hint)
    if scope is not None and setting.scope != scope:
        raise _invalid(f"{place}: {name!r} is not a setting of one model", "put it under [serve]")
    kind = _TYPES[setting.type]
    if not isinstance(value, kind) or (isinstance(value, bool) and setting.type != "bool"):
        # The queue's URL may hold a password.
        shown = "what is given" if name == "queue" else repr(value)
        raise _invalid(f"{place}: {name} must be of type {setting.type}, and {shown} is not", _range_hint(setting))
    return value


def _parsed(setting: Setting, text: str, variable: str) -> Any:
    """The value of an environment variable."""
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    try:
        if setting.type == "bool":
            return words[text.lower()]
        return {"int": int, "float": float, "string": str}[setting.type](text)
    except (KeyError, ValueError):
        raise _invalid(
            f"{variable}: {setting.name} must be of type {setting.type}, and {text!r} is not", _range_hint(setting)
        ) from None


def _range_hint(setting: Setting) -> str:
    """What a setting may be."""
    if setting.choices:
        return f"one of {', '.join(setting.choices)}"
    if setting.minimum is not None and setting.maximum is not None:
        return f"from {setting.minimum} to {setting.maximum}"
    return {"bool": "true or false", "string": "text in quotes"}.get(setting.type, "a number")


def _invalid(message: str, hint: str) -> SettingError:
    return SettingError(message, code="setting_invalid", hint=hint)
