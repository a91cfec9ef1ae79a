"""``monorail serve``."""

from __future__ import annotations

import signal
import time
from typing import Any

import click

from ..settings import SETTINGS, Setting
from .options import Decorator, registry_option, trust_option
from .printer import Printer

#: How long a second signal may go unnoticed, in seconds.
STEP_S = 0.1
_KINDS: dict[str, Any] = {"int": click.INT, "float": click.FLOAT, "string": click.STRING}


def _flag(setting: Setting) -> Decorator:
    """The flag of a setting, without a default of its own: what is not said is left to environment, file and Rust."""
    word = setting.name.replace("_", "-")
    known = setting.default if not isinstance(setting.default, bool) else ("on" if setting.default else "off")
    text = setting.help if setting.default is None else f"{setting.help} [default: {known}]"
    if setting.type == "bool":
        return click.option(f"--{word}/--no-{word}", setting.name, default=None, help=text)
    kind = click.Choice(setting.choices) if setting.choices else _KINDS[setting.type]
    return click.option(f"--{word}", setting.name, type=kind, default=None, help=text)


def _all_flags(function: Any) -> Any:
    """One flag per setting, in the table's order."""
    for setting in reversed(SETTINGS):
        function = _flag(setting)(function)
    return function


@click.command("serve")
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@_all_flags
@click.option("--config", type=click.Path(dir_okay=False), help="File of settings. [default: monorail.toml, if there]")
@trust_option
@registry_option
def command(models: tuple[str, ...], config: str | None, trust: bool, registry: str | None, **settings: Any) -> None:
    """Serve MODELs over HTTP: name, name@version, name@alias, or the path of a bundle's folder.

    Prints one line on stdout, the address, once every model is loaded and its golden rows have matched. SIGTERM and
    SIGINT drain: readiness goes off, what was accepted is answered, then it ends with status 0; a second one ends it
    at once.
    """
    from .. import serve

    printer = Printer()
    asked: list[int] = []
    server = None

    def stop(number: int, frame: object) -> None:
        if asked and server is not None:
            server.stop(drain=False)
        asked.append(number)
        if server is None:
            # Nothing is answered yet, and workers may take minutes to come up.
            raise SystemExit(0)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    server = serve(*models, registry=registry, config=config, trust=trust, **settings)
    printer.data(server.url)
    # In steps: the system may hand a signal to another thread, which does not wake this one. And without a lock, which
    # the handler, running in the middle of it, would wait for.
    while not asked:
        time.sleep(STEP_S)
    # Nothing is said here: stderr may be a pipe that nobody reads. The server's own log never waits.
    server.begin_drain()
    # In steps: Python runs the handler of a second signal between them only.
    while not server.wait(timeout_s=STEP_S):
        pass
