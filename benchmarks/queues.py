"""Messages answered through a broker: Monorail beside a bare consumer, and beside a FastStream worker.

A stream holds more messages than can be answered in the time, one JSON record of 30 numbers each; no message is like
the one before. Each consumer finds it as the others do, has one core, and the broker another. The bare consumer is the
same client library in a program that echoes and acknowledges (`crates/core/examples/bare_*.rs`). The FastStream worker
takes batches, has orjson and uvloop, publishes a batch's replies together, and runs the very graph that Monorail runs;
unlike Monorail it trusts its records: what a Pydantic model of them would check costs it more. Counted are the replies
in the broker.

A slow worker leaves the broker idle, a fast one waits for it. So messages per CPU second of the consumer are told
beside messages a second: what it could answer from a broker of more cores.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

import monorail as mr

from . import models, rivals
from .processes import cpu_seconds, granted, monorail, pinned, running, two_cores
from .queue_brokers import BROKERS, REPLIES, REQUESTS, Broker
from .tables import heading, median, table, verdict, with_noise

LEAST_OF_BARE = 0.6
LEAST_OF_FASTSTREAM = 10.0
#: Messages that FastStream takes at once; more did not make it faster.
BATCH = 512
#: Longest wait for the first reply.
START_S = 60.0
#: How often the replies are counted.
LOOK_S = 0.02


class Consumer(NamedTuple):
    """A program that answers messages: its command line, and what its environment says besides."""

    command: list[str]
    environment: Mapping[str, str]
    folder: Path | None = None


class Run(NamedTuple):
    """What one consumer did: replies a second, and the shares of their cores that it and the broker used."""

    rate: float
    busy: float
    broker_busy: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.queues", description=__doc__)
    parser.add_argument("--broker", choices=[*BROKERS, "all"], default="all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--messages", type=int, default=200_000, help="that wait at the start")
    parser.add_argument("--seconds", type=float, default=5.0, help="longest look at one consumer")
    parser.add_argument("--quick", action="store_true", help="one round of few messages")
    options = parser.parse_args(arguments)
    rivals.require_tools(["taskset"])
    cores = two_cores("one for the consumer, one for the broker")
    rounds, messages = (1, 10_000) if options.quick else (options.rounds, options.messages)
    for name in BROKERS if options.broker == "all" else [options.broker]:
        with tempfile.TemporaryDirectory(prefix="monorail-bench-") as scratch:
            version, bodies = _prepare(Path(scratch))
            with BROKERS[name](Path(scratch) / name, cores[1]) as broker:
                heading(
                    f"JSON records over {broker.version}: consumer on core {cores[0]}, broker on core {cores[1]}, "
                    f"{messages:,} messages, {rounds} rounds of at most {options.seconds:g} s"
                )
                worth = granted(cores[:2])
                print(f"   the two cores, busy at once, are worth {worth:.1f}" + (": NOT QUIET" if worth < 1.9 else ""))
                consumers = _consumers(name, broker.url, version, cores[0])
                seen = _measure(broker, consumers, bodies, rounds, messages, options.seconds)
        _report(seen)


def _prepare(scratch: Path) -> tuple[mr.Version, list[bytes]]:
    """Fit and save the model; the records as bodies of messages."""
    X, y = models.cancer()
    version = mr.save(models.linear().fit(X, y), "cancer", example=X, registry=scratch / "registry", quiet=True)
    return version, [json.dumps(record).encode() for record in X.to_dict(orient="records")]


def _consumers(name: str, url: str, version: mr.Version, core: int) -> dict[str, Consumer]:
    """What is measured, by name."""
    serve = monorail("serve", str(version.path), "--port", "0", "--threads", "1", "--jobs", "off")
    queue = ["--queue", url, "--requests", REQUESTS, "--replies", REPLIES]
    [model_input] = version.manifest["stages"][0]["inputs"]
    environment = {
        "BROKER": url,
        "REQUESTS": REQUESTS,
        "REPLIES": REPLIES,
        "BATCH": str(BATCH),
        "GRAPH": str(version.path / "graph.onnx"),
        "COLUMNS": json.dumps(model_input["columns"]),
        "OMP_NUM_THREADS": "1",
        "ORT_DISABLE_TELEMETRY": "1",
    }
    return {
        "monorail": Consumer(pinned(core, [*serve, *queue]), {}),
        "bare": Consumer(pinned(core, [str(_example(f"bare_{name}")), url, REQUESTS, REPLIES]), {}),
        "faststream": Consumer(pinned(core, rivals.faststream()), environment, rivals.APPS),
    }


def _example(name: str) -> Path:
    """An example of the core, built."""
    command = ["cargo", "build", "--release", "--locked", "--quiet", "-p", "monorail-core", "--example", name]
    done = subprocess.run([*command, "--message-format", "json"], check=True, stdout=subprocess.PIPE, text=True)
    built = [json.loads(line).get("executable") for line in done.stdout.splitlines()]
    return Path(next(path for path in built if path))


def _measure(
    broker: Broker,
    consumers: Mapping[str, Consumer],
    bodies: Sequence[bytes],
    rounds: int,
    messages: int,
    seconds: float,
) -> dict[str, list[Run]]:
    """Let the consumers take turns."""
    seen: dict[str, list[Run]] = {name: [] for name in consumers}
    answers: dict[str, list[object]] = {}
    for _ in range(rounds):
        for name, consumer in consumers.items():
            broker.fill(bodies, messages, name)
            with _started(consumer) as pid:
                seen[name].append(_watch(broker, name, pid, messages, seconds))
            answers[name] = [_prediction(reply) for reply in broker.first_replies(len(bodies) // 10)]
    _compare(answers.get("monorail", []), answers.get("faststream", []))
    return seen


@contextlib.contextmanager
def _started(consumer: Consumer) -> Iterator[int]:
    """A consumer at work."""
    with running(consumer.command, environment=consumer.environment, folder=consumer.folder) as process:
        yield process.pid


def _watch(broker: Broker, name: str, pid: int, messages: int, seconds: float) -> Run:
    """Count replies from the first that are seen until all are there or the time is over."""
    until = time.monotonic() + START_S
    while not (first := broker.replies()):
        if time.monotonic() > until:
            raise SystemExit(f"{name} answered nothing within {START_S:g} s")
        time.sleep(LOOK_S)
    began, used, broker_used = time.perf_counter(), cpu_seconds(pid), cpu_seconds(broker.pid)
    last = first
    while last < messages and time.perf_counter() - began < seconds:
        time.sleep(LOOK_S)
        last = broker.replies()
    took = time.perf_counter() - began
    if last == first:
        raise SystemExit(f"{name} answered all of {messages:,} messages before they could be counted: give it more")
    return Run((last - first) / took, (cpu_seconds(pid) - used) / took, (cpu_seconds(broker.pid) - broker_used) / took)


def _prediction(reply: bytes) -> object:
    """The prediction in a reply: ours is in a list of one."""
    said = json.loads(reply)
    return said["predictions"][0] if isinstance(said, dict) and "predictions" in said else said


def _compare(ours: Sequence[object], theirs: Sequence[object]) -> None:
    """See that both answer alike, in whatever order."""

    def probabilities(answers: Sequence[object]) -> list[float]:
        return sorted(answer["probability"][0] for answer in answers if isinstance(answer, dict))

    if len(ours) != len(theirs) or not np.allclose(probabilities(ours), probabilities(theirs)):
        raise SystemExit("the consumers disagree")


def _report(seen: Mapping[str, Sequence[Run]]) -> None:
    """Print the table and the ratios."""
    rows = [
        [
            name,
            with_noise([run.rate for run in runs], ",.0f"),
            f"{median([run.busy for run in runs]):.0%}",
            f"{median([run.broker_busy for run in runs]):.0%}",
        ]
        for name, runs in seen.items()
    ]
    table(("consumer", "messages/s", "consumer busy", "broker busy"), rows)
    rate = {name: median([run.rate for run in runs]) for name, runs in seen.items()}
    for rival, least in (("bare", LEAST_OF_BARE), ("faststream", LEAST_OF_FASTSTREAM)):
        verdict(f"messages/s of {rival}'s", rate["monorail"] / rate[rival], least, at_most=False)
    by_cpu = {name: median([run.rate / run.busy for run in runs]) for name, runs in seen.items()}
    told = by_cpu["monorail"] / by_cpu["faststream"]
    verdict("messages per CPU second of faststream's", told, None, at_most=False)


if __name__ == "__main__":
    main()
