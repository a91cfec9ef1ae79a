"""The settings of a server: name, type, default, range. Generated from Rust's table: run `make generate`."""

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
    Setting(
        name="host",
        type="string",
        default="127.0.0.1",
        minimum=None,
        maximum=None,
        help="Address to listen on.",
    ),
    Setting(
        name="port",
        type="int",
        default=8000,
        minimum=0,
        maximum=65535,
        help="Port to listen on; 0 for a free one.",
    ),
    Setting(
        name="threads",
        type="int",
        default=0,
        minimum=0,
        maximum=1024,
        help="Threads that serve and score; 0 for the number of cores.",
    ),
    Setting(
        name="access_log",
        type="bool",
        default=False,
        minimum=None,
        maximum=None,
        help="Write a line on stderr for each request.",
    ),
    Setting(
        name="drain_s",
        type="float",
        default=10.0,
        minimum=0,
        maximum=3600,
        help="Longest time to finish what is there after SIGTERM.",
    ),
    Setting(
        name="limit_body_bytes",
        type="int",
        default=67108864,
        minimum=1024,
        maximum=1099511627776,
        help="Largest request body.",
    ),
    Setting(
        name="limit_rows",
        type="int",
        default=1000000,
        minimum=1,
        maximum=1099511627776,
        help="Most rows of one request.",
        scope="model",
    ),
    Setting(
        name="max_batch_rows",
        type="int",
        default=1024,
        minimum=1,
        maximum=1048576,
        help="Most rows the engine is given at once.",
        scope="model",
    ),
    Setting(
        name="unknown_columns",
        type="string",
        default="refuse",
        minimum=None,
        maximum=None,
        help="Whether columns the signature does not have are refused or ignored.",
        scope="model",
        choices=("refuse", "ignore"),
    ),
)
