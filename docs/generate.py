"""Write what is generated from Rust's tables: ``python/monorail/settings.py``.

``make generate`` rewrites it, ``make lint`` checks that it is fresh (``--check``).
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from monorail import _core

ROOT = Path(__file__).parent.parent

HEAD = '''"""The settings of a server: name, type, default, range. Generated from Rust's table: run `make generate`."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Setting:
    """One setting, the same word as flag, environment variable (``MONORAIL_`` and upper case) and in ``monorail.toml``.

    Attributes:
        name: Its word.
        type: ``bool``, ``int``, ``float`` or ``string``.
        default: None where it is decided at start-up, as ``help`` says.
        minimum: Least value of a number, or None.
        maximum: Greatest value of a number, or None.
        help: What it does, one sentence.
        scope: ``serve``, or ``model`` for one that may also be given for one model alone.
        choices: The words a string may be, or None.
    """

    name: str
    type: str
    default: bool | int | float | str | None
    minimum: int | float | None
    maximum: int | float | None
    help: str
    scope: str = "serve"
    choices: tuple[str, ...] | None = None


SETTINGS: tuple[Setting, ...] = (
'''


def settings_source() -> str:
    """The text of ``settings.py``, formatted."""
    lines = [HEAD]
    for entry in json.loads(_core.settings_table()):
        fields: dict[str, Any] = {
            "name": entry["name"],
            "type": entry["type"],
            "default": entry["default"],
            "minimum": entry["minimum"],
            "maximum": entry["maximum"],
            "help": entry["help"],
        }
        if entry.get("scope", "serve") != "serve":
            fields["scope"] = entry["scope"]
        if entry.get("choices"):
            fields["choices"] = tuple(entry["choices"])
        lines.append(f"    Setting({', '.join(f'{key}={value!r}' for key, value in fields.items())},),\n")
    lines.append(")\n")
    ruff = Path(sys.executable).with_name("ruff")
    done = subprocess.run(
        [ruff, "format", "--stdin-filename", "settings.py", "-"],
        input="".join(lines),
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    return done.stdout


def main() -> int:
    """Write the files, or with ``--check`` say which are stale."""
    path = ROOT / "python" / "monorail" / "settings.py"
    fresh = settings_source()
    if path.exists() and path.read_text() == fresh:
        return 0
    if "--check" in sys.argv[1:]:
        sys.stderr.write(f"{path.relative_to(ROOT)} is stale: run `make generate`\n")
        return 1
    path.write_text(fresh)
    return 0


if __name__ == "__main__":
    sys.exit(main())
