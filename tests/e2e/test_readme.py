"""Every command and every Python block of the README and of the guides runs, in the order a reader meets them.

Blocks marked ``python`` share one namespace; lines of ``console`` blocks that start with ``$`` run in a shell. A server
started with ``&`` gets a free port instead of the one written, and the addresses in later lines follow it.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.brokers import BrokerServer, RedisServer

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("guides/*.md")), *sorted(DOCS.glob("concepts/*.md"))]
ALL_PAGES = sorted({*ROOT.glob("*.md"), *DOCS.glob("**/*.md"), *ROOT.glob("*/README.md")})
#: What a developer runs in the clone: `make test` is running now, the others have tests of their own.
MAKE = {"make demo", "make test", "make setup", "make dist"}


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and the line it begins in."""

    language: str
    text: str
    line: int


def name(page: Path) -> str:
    """A page's path in the repository."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page."""
    text = page.read_text(encoding="utf-8")
    for match in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield Block(match[1], match[2], text[: match.start()].count("\n") + 2)


class Shell:
    """Runs the lines of console blocks in one folder."""

    def __init__(self) -> None:
        self.servers: list[subprocess.Popen[str]] = []
        self.brokers: list[BrokerServer] = []
        self.addresses: dict[str, str] = {}
        here = str(Path(sys.executable).parent)
        self.environment = {**os.environ, "PATH": f"{here}{os.pathsep}{os.environ['PATH']}"}

    def moved(self, text: str) -> str:
        """A text with the addresses that servers really have."""
        for written, real in self.addresses.items():
            text = text.replace(written, real)
        return text

    def run(self, line: str) -> None:
        """Run a line; it must succeed."""
        line = self.moved(line)
        command = shlex.split(line, comments=True)
        if command[-1] == "&":
            self.serve(command[:-1])
        elif command == ["kill", "%1"]:
            self.stop()
        else:
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", line],
                capture_output=True,
                text=True,
                env=self.environment,
                check=False,
            )
            assert done.returncode == 0, f"$ {line}\n{done.stdout}{done.stderr}"

    def serve(self, command: list[str]) -> None:
        """Start a server on a free port, and wait for its address."""
        place = command.index("--port") + 1
        if command[0] == RedisServer.program:
            broker = RedisServer(Path("broker").resolve())
            self.brokers.append(broker)
            self.addresses[f"redis://127.0.0.1:{command[place]}"] = broker.url
            return
        written, command[place] = f"http://127.0.0.1:{command[place]}", "0"
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=self.environment)
        self.servers.append(server)
        assert server.stdout is not None
        self.addresses[written] = server.stdout.readline().strip()
        assert self.addresses[written]

    def stop(self) -> None:
        """Stop the servers as an operator would."""
        for server in self.servers:
            server.send_signal(signal.SIGTERM)
            assert server.wait(30) == 0
            if server.stdout:
                server.stdout.close()
        self.servers.clear()
        for broker in self.brokers:
            broker.kill()
        self.brokers.clear()


@pytest.fixture
def shell() -> Iterator[Shell]:
    shell = Shell()
    yield shell
    shell.stop()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_everything_on_the_page_runs(page, shell):
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(page):
        if block.language == "python":
            exec(compile("\n" * (block.line - 1) + shell.moved(block.text), str(page), "exec"), namespace)
        elif block.language == "console":
            for line in block.text.splitlines():
                assert line.startswith("$ "), f"{page}: {line}"
                command = line.removeprefix("$ ").partition(" #")[0].strip()
                if command.startswith("make "):
                    assert command in MAKE, f"{page}: {command}"
                else:
                    shell.run(line.removeprefix("$ "))


def test_the_readme_shows_code_early_and_stays_short():
    first = next(blocks(PAGES[0]))
    assert first.language == "python"
    assert first.line < 30
    assert len(PAGES[0].read_text(encoding="utf-8").splitlines()) < 150


def test_the_two_commands_are_there():
    text = PAGES[0].read_text(encoding="utf-8")
    assert "\n$ make demo " in text
    assert "\n$ make test " in text


def test_make_has_every_target_that_is_named():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in MAKE:
        assert re.search(rf"^{target.removeprefix('make ')}:", makefile, re.MULTILINE), target


LINK = re.compile(r"\[[^\]]*\]\(([^)#]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize(
    "page",
    ALL_PAGES,
    ids=name,
)
def test_links_lead_somewhere(page):
    links = LINK.findall(page.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []
