"""The entry: which commands there are, and what an error looks like.

Exit status: 0 fine, 1 the user's to mend, 2 ours.
"""

from __future__ import annotations

import errno
import importlib
import io
import os
import sys
import traceback
from collections.abc import Sequence

import click

from ..errors import InternalError, MonorailError
from .printer import Printer

#: Every command, with the line ``monorail --help`` shows. Its code is ``command`` in the module of its name.
COMMANDS = {
    "demo": "Show the whole rail on real data: fit, prove, serve, load, score.",
    "fit": "Fit a pipeline on data of any size.",
    "save": "Compile, prove and store a fitted model.",
    "list": "List the models of the registry.",
    "show": "Show a model: signature, proof, metrics.",
    "alias": "Point a name such as champion at a version.",
    "prove": "Score a model's golden rows again, here.",
    "serve": "Serve models over HTTP.",
    "jobs": "List, show, fetch, cancel, retry and follow the jobs of a server.",
    "predict": "Score a file of rows.",
    "score": "Score data of any size, into a folder of Parquet files.",
    "export": "Write a model's graph for other runtimes.",
    "bench": "Load a running server and measure it.",
}
#: Codes whose fault is ours.
OURS = {"internal", "engine_failed", "worker_failed", "worker_lost", "job_store_failed"}


class _Commands(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        return importlib.import_module(f".{cmd_name}", __package__).command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from .. import __version__

        Printer().data(f"monorail {__version__}")
        ctx.exit()


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--version", is_flag=True, expose_value=False, is_eager=True, callback=_version, help="Show the version.")
def monorail() -> None:
    """One rail from raw data to live predictions."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Without the program's name; default: the process's own.

    Returns:
        The exit status: 0 fine, 1 the user's to mend, 2 ours.
    """
    printer = Printer()
    for stream in (sys.stdout, sys.stderr):
        # A terminal of few letters gets a question mark, not a traceback.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        status = monorail.main(
            args=None if arguments is None else list(arguments), prog_name="monorail", standalone_mode=False
        )
        return status if isinstance(status, int) else 0
    except MonorailError as error:
        printer.error(error)
        return 2 if error.code in OURS else 1
    except click.exceptions.NoArgsIsHelpError as error:
        printer.data(error.format_message())
        return 0
    except click.ClickException as error:
        printer.fault(error.format_message(), hint=_usage_hint(error))
        return 1
    except (click.Abort, KeyboardInterrupt):
        printer.say("stopped")
        return 1
    except BrokenPipeError:
        # Whoever read our data has left. Keep the interpreter from complaining when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            printer.fault(str(error), hint="make room; TMPDIR names the folder for temporary files")
            return 1
        printer.say(traceback.format_exc().rstrip())
        printer.error(
            InternalError(
                f"{type(error).__name__}: {error}", code="internal", hint="please report this, with the lines above"
            )
        )
        return 2


def _usage_hint(error: click.ClickException) -> str | None:
    """How to find out what a command takes."""
    context = getattr(error, "ctx", None)
    return f"see `{context.command_path} --help`" if context else None
