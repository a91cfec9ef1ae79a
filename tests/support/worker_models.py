"""Classes that tests serve by worker: this file is copied into their bundles and imported there, alone."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa


def _answer(batch: pa.RecordBatch) -> pa.RecordBatch:
    """``x`` itself, which process answered, and how many rows the batch had."""
    rows = batch.num_rows
    return pa.RecordBatch.from_pydict(
        {
            "y": batch.column("x"),
            "pid": pa.array(np.full(rows, os.getpid(), np.int64)),
            "rows": pa.array(np.full(rows, rows, np.int64)),
        }
    )


class Nothing:
    """Gives back what it gets."""

    def predict(self, batch):
        return _answer(batch)


class Obedient:
    """Does what the column ``do`` of any row says, then answers."""

    idempotent = False

    def __init__(self):
        self.kept = []
        self.hoard = []
        self.path = None

    def load(self, path):
        self.path = Path(path)

    def predict(self, batch):
        for word in batch.column("do").to_pylist():
            name, _, argument = word.partition(" ")
            if name:
                getattr(self, f"do_{name}")(argument, batch)
        return _answer(batch)

    def do_print(self, argument, batch):
        print("hello from the model", argument)
        print("and from its other stream", file=sys.stderr)

    def do_flood(self, argument, batch):
        for number in range(200_000):
            print("flood", number)

    def do_exit(self, argument, batch):
        sys.exit(argument)

    def do_interrupt(self, argument, batch):
        raise KeyboardInterrupt

    def do_raise(self, argument, batch):
        raise ValueError(argument)

    def do_segfault(self, argument, batch):
        ctypes.string_at(0)

    def do_abort(self, argument, batch):
        os.abort()

    def do_leave(self, argument, batch):
        os._exit(int(argument))

    def do_kill(self, argument, batch):
        os.kill(os.getpid(), signal.SIGKILL)

    def do_die_once(self, argument, batch):
        """Ends this worker, and none that comes after it: a file tells."""
        if not Path(argument).exists():
            Path(argument).touch()
            os.kill(os.getpid(), signal.SIGKILL)

    def do_leak(self, argument, batch):
        self.hoard.append(b"\1" * (int(argument) << 20))

    def do_keep(self, argument, batch):
        self.kept.append(batch)

    def do_exhaust(self, argument, batch):
        """Keeps the batch, so that the next one needs other memory, and leaves no descriptor to receive it with."""
        self.kept.append(batch)
        with contextlib.suppress(OSError):
            while True:
                self.hoard.append(os.open(os.devnull, os.O_RDONLY))

    def do_compare(self, argument, batch):
        """Fails unless what was kept is as it was."""
        got = [value for kept in self.kept for value in kept.column("x").to_pylist()]
        if got != [float(word) for word in argument.split(",")]:
            raise ValueError(f"what was kept has changed: {got}")

    def do_spin(self, argument, batch):
        _touch(argument)
        while True:
            pass

    def do_sleep(self, argument, batch):
        time.sleep(float(argument))

    def do_hold(self, argument, batch):
        """Sleeps in C, holding Python's lock."""
        _touch(argument)
        ctypes.PyDLL(None).sleep(600)

    def do_stubborn(self, argument, batch):
        """Goes on whatever is raised in it."""
        while True:
            try:
                time.sleep(600)
            except BaseException:
                print("not now")

    def do_fork(self, argument, batch):
        """Forks a child that comes back from here as if it were the worker."""
        os.fork()

    def do_child(self, argument, batch):
        """Forks a child that never ends, and notes its number."""
        child = os.fork()
        if child == 0:
            time.sleep(600)
            os._exit(0)
        Path(argument).write_text(str(child))

    def do_program(self, argument, batch):
        """Starts a program that never ends, and notes its number."""
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        Path(argument).write_text(str(child.pid))

    def do_thread(self, argument, batch):
        """Leaves a thread behind that never ends."""
        threading.Thread(target=time.sleep, args=(600,)).start()

    def do_wrong(self, argument, batch):
        raise AssertionError("not reached")


class Wrong(Obedient):
    """Answers with something else than its signature says."""

    def predict(self, batch):
        word = batch.column("do")[0].as_py()
        right = _answer(batch)
        if word == "rows":
            return right.slice(0, max(0, right.num_rows - 1))
        if word == "missing":
            return right.select(["y", "pid"])
        if word == "type":
            return {"y": ["text"] * right.num_rows, "pid": right["pid"], "rows": right["rows"]}
        if word == "null":
            return {"y": right["y"], "pid": pa.nulls(right.num_rows, pa.int64()), "rows": right["rows"]}
        if word == "kind":
            return 3
        if word == "narrow":
            return {"y": right["y"], "pid": [2**70] * right.num_rows, "rows": right["rows"]}
        # Widened: small integers and single precision.
        return {
            "y": right["y"].cast(pa.float32()),
            "pid": right["pid"].to_numpy(),
            "rows": np.full(right.num_rows, right.num_rows, np.int8),
        }


class Frames:
    """Takes pandas and changes it in place."""

    def predict(self, frame):
        frame["x"] = frame["x"] * 2
        frame.loc[0, "x"] = 7.0
        return frame[["x"]].rename(columns={"x": "y"}).assign(pid=os.getpid(), rows=len(frame))


class Seen:
    """Says what it saw, in words."""

    def predict(self, batch):
        words = [repr(row) for row in batch.to_pylist()]
        return {"seen": words, "schema": [str(batch.schema)] * batch.num_rows}


class Echo:
    """Gives every column back under its own name."""

    def predict(self, batch):
        return batch


class Broken:
    """Cannot be loaded."""

    def load(self, path):
        raise RuntimeError("the weights are missing")


class Slow:
    """Comes up after a while."""

    def load(self, path):
        print("it begins to load")
        time.sleep(600)


class Doomed:
    """Comes up, and dies of its first batch."""

    def predict(self, batch):
        os.abort()


def _touch(path):
    if path:
        Path(path).write_text(str(os.getpid()))
