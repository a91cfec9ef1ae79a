"""What Monorail is measured against: how each is installed and started."""

from __future__ import annotations

import importlib.metadata
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ..models import cache

HERE = Path(__file__).parent
#: Not a package, so that it can be served without what Monorail needs.
APPS = HERE / "apps"
TOOLS = ("taskset", "wrk", "nginx")
_INSTALL = "install them (Debian, Ubuntu: sudo apt-get install util-linux wrk nginx-light)"

_NGINX = """worker_processes 1; daemon off; pid {scratch}/nginx.pid; error_log stderr crit;
events {{ worker_connections 20000; }}
http {{
  access_log off; keepalive_requests 100000000; client_body_temp_path {scratch}/body; default_type application/json;
  server {{ listen 127.0.0.1:{port}; location / {{ return 200 '{answer}'; }} }}
}}
"""


def require_tools(tools: Sequence[str] = TOOLS) -> None:
    """Check that the programs are there; say in one line how to get them."""
    if sys.platform != "linux":
        raise SystemExit("this benchmark pins processes to cores and reads /proc: it needs Linux")
    if missing := [tool for tool in tools if shutil.which(tool) is None]:
        raise SystemExit(f"missing: {', '.join(missing)}; {_INSTALL}")


def granian(port: int) -> list[str]:
    """Granian serving `granian_app.py`: msgspec for JSON, ONNX Runtime for the model, batches of one loop tick."""
    options = "--interface rsgi --workers 1 --http 1 --no-ws --log-level warning --runtime-mode mt --loop uvloop"
    command = _environment().with_name("granian")
    return [str(command), "granian_app:app", "--host", "127.0.0.1", "--port", str(port), *options.split()]


def mosec(port: int) -> list[str]:
    """Mosec serving `mosec_app.py`, which does nothing, with all its settings as they are."""
    return [str(_environment()), str(APPS / "mosec_app.py"), "--address", "127.0.0.1", "--port", str(port)]


def faststream() -> list[str]:
    """FastStream running `faststream_app.py`, which its environment tells what to do."""
    return [str(_environment()), str(APPS / "faststream_app.py")]


def free_port() -> int:
    """A port that is free now, for rivals that cannot find one themselves."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def nginx(port: int, answer: str, scratch: Path) -> list[str]:
    """Nginx answering every request with the same text: what a core can do that does no work."""
    configuration = scratch / "nginx.conf"
    configuration.write_text(_NGINX.format(scratch=scratch, port=port, answer=answer), encoding="utf-8")
    return ["nginx", "-c", str(configuration), "-p", str(scratch), "-e", "stderr"]


def _environment() -> Path:
    """The Python of the rivals' own environment, made where it is not there yet."""
    wanted = (HERE / "requirements.txt").read_text(encoding="ascii")
    # The runtime and NumPy that Monorail has: what is compared is what is around them.
    wanted += "".join(f"{name}=={importlib.metadata.version(name)}\n" for name in ("numpy", "onnxruntime"))
    folder = cache() / "rivals"
    python, made = folder / "bin" / "python", folder / "made-from.txt"
    if not made.exists() or made.read_text(encoding="ascii") != wanted:
        print("   installing the rivals (kept for the next run)", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted.split()]
        subprocess.run(install, check=True)
        made.write_text(wanted, encoding="ascii")
    return python
