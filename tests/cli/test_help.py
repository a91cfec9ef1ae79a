"""Help, versions, and what a wrong command line gets."""

import pytest

from monorail import __version__
from monorail.cli.main import COMMANDS
from monorail.cli.main import monorail as group
from monorail.settings import SETTINGS

HELP = """\
Usage: monorail [OPTIONS] COMMAND [ARGS]...

  One rail from raw data to live predictions.

Options:
  --version   Show the version.
  -h, --help  Show this message and exit.

Commands:
  demo     Show the whole rail on real data: fit, prove, serve, load, score.
  fit      Fit a pipeline on data of any size.
  save     Compile, prove and store a fitted model.
  list     List the models of the registry.
  show     Show a model: signature, proof, metrics.
  alias    Point a name such as champion at a version.
  prove    Score a model's golden rows again, here.
  serve    Serve models over HTTP.
  jobs     List, show, fetch, cancel, retry and follow the jobs of a server.
  predict  Score a file of rows.
  score    Score data of any size, into a folder of Parquet files.
  export   Write a model's graph for other runtimes.
  bench    Load a running server and measure it.
"""


def test_help(monorail):
    ran = monorail("--help")
    assert (ran.status, ran.out, ran.err) == (0, HELP, "")


def test_no_command_is_help(monorail):
    ran = monorail()
    assert (ran.status, ran.out, ran.err) == (0, HELP, "")


def test_version(monorail):
    ran = monorail("--version")
    assert (ran.status, ran.out, ran.err) == (0, f"monorail {__version__}\n", "")


@pytest.mark.parametrize("name", list(COMMANDS))
def test_help_of_every_command(monorail, name):
    ran = monorail(name, "--help")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.startswith(f"Usage: monorail {name} ")


def test_serve_has_a_flag_for_every_setting(monorail):
    out = monorail("serve", "--help").out
    for setting in SETTINGS:
        assert f"--{setting.name.replace('_', '-')}" in out


def test_flags_have_no_default_of_their_own():
    import click

    command = group.get_command(click.Context(group), "serve")
    assert command is not None
    names = {setting.name for setting in SETTINGS}
    assert {p.name for p in command.params if p.name in names and p.default is None} == names


WRONG = [
    (("nope",), "error: No such command 'nope'.\nhint: see `monorail --help`\n"),
    (("serve",), "error: Missing argument 'MODEL...'.\nhint: see `monorail serve --help`\n"),
    (("show", "--nope"), "error: No such option '--nope'.\nhint: see `monorail show --help`\n"),
    (
        ("save", "m.pkl", "--name", "a", "--example", "x", "--metric", "auc=high"),
        "error: Invalid value for '--metric': could not convert string to float: 'high'; give NAME=NUMBER\n"
        "hint: see `monorail save --help`\n",
    ),
]


@pytest.mark.parametrize(("arguments", "text"), WRONG, ids=lambda value: value[0] if isinstance(value, tuple) else "")
def test_a_wrong_command_line_is_the_users_to_mend(monorail, arguments, text):
    ran = monorail(*arguments)
    assert (ran.status, ran.out, ran.err) == (1, "", text)
