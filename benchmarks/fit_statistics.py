"""The first pass of a fit beside DuckDB and Polars computing the same statistics of the same Parquet files.

Of twelve columns of numbers with nulls: how many, how many nulls, least, greatest, mean, standard deviation, and (with
quantiles) 32 quantiles; of four columns of text: how often each value is there. Ten million rows, 1.2 GB. Ours are what
`mr.fit` gathers: exact but for the quantiles, whose ranks are off by 0.13 % at most. DuckDB's quantiles are a t-digest,
Polars' are exact. Then a hundred million rows (the same files, ten times), whose memory is compared.

Each is a process of its own with two threads; its CPU seconds and its peak resident memory are those of the whole
process, but for starting Python and importing what it needs, which is taken off.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

from .scale_data import NUMBERS, WORDS, files
from .tables import heading, median, table, verdict, with_noise

MOST_CPU = 1.3
MOST_MB = 600
MOST_GROWTH = 1.1
ROWS = 10_000_000
THREADS = 2
QUANTILES = 32
#: Statistics may differ by this much between two that compute them.
CLOSE = 1e-9


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fit_statistics", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--quick", action="store_true", help="one round of 1,250,000 rows")
    parser.add_argument("--child", nargs=2, metavar=("ENGINE", "QUANTILES"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        print(json.dumps(measured(options.child[0], options.child[1] == "yes", options.rows)))
        return
    rounds, rows = (1, 1_250_000) if options.quick else (options.rounds, options.rows)
    heading(f"statistics of {rows:,} rows beside DuckDB and Polars, {rounds} rounds")
    files(rows)
    ours = {words: compared(words, rows, rounds) for words in ("without", "with")}
    more = child("monorail", "yes", rows * 10)
    least = ours["with"]
    print(f"   {rows * 10:,} rows: {more['cpu_s']:.1f} CPU s, {more['mb']:.0f} MB")
    verdict("memory for ten times the rows", more["mb"] / least, MOST_GROWTH, at_most=True)


def compared(words: str, rows: int, rounds: int) -> float:
    """Run the three in turn, print what they took; our memory in MB."""
    found: dict[str, list[dict[str, Any]]] = {engine: [] for engine in ENGINES}
    for _ in range(rounds):
        for engine in ENGINES:
            found[engine].append(child(engine, "yes" if words == "with" else "no", rows))
    for engine in ENGINES:
        check(found["monorail"][0]["answer"], found[engine][0]["answer"], engine, rows)
    print(f"   {words} quantiles")
    cpu = {engine: [run["cpu_s"] for run in runs] for engine, runs in found.items()}
    memory = {engine: [run["mb"] for run in runs] for engine, runs in found.items()}
    wall = {engine: [run["wall_s"] for run in runs] for engine, runs in found.items()}
    table(
        ["engine", "CPU s", "wall s", "peak MB"],
        [
            [engine, with_noise(cpu[engine], ".2f"), with_noise(wall[engine], ".2f"), with_noise(memory[engine], ".0f")]
            for engine in ENGINES
        ],
    )
    rival = min(median(cpu[engine]) for engine in ENGINES if engine != "monorail")
    verdict("CPU beside the better of the two", median(cpu["monorail"]) / rival, MOST_CPU, at_most=True)
    verdict("peak memory, MB", max(memory["monorail"]), MOST_MB, at_most=True)
    return median(memory["monorail"])


def child(engine: str, quantiles: str, rows: int) -> dict[str, Any]:
    """What one engine took, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", __spec__.name, "--rows", str(rows), "--child", engine, quantiles],
        stdout=subprocess.PIPE,
        check=True,
        text=True,
        env={**os.environ, "POLARS_MAX_THREADS": str(THREADS)},
    )
    return json.loads(done.stdout.splitlines()[-1])


def measured(engine: str, quantiles: bool, rows: int) -> dict[str, Any]:
    """Run an engine in this process."""
    import time

    run = ENGINES[engine]()
    paths = [str(path) for path in files(rows)]
    before, begun = _cpu_s(), time.perf_counter()
    answer = run(paths, quantiles)
    return {
        "cpu_s": _cpu_s() - before,
        "wall_s": time.perf_counter() - begun,
        "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "answer": answer,
    }


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def check(ours: dict[str, Any], theirs: dict[str, Any], engine: str, rows: int) -> None:
    """The answers are the same; quantiles within what a sketch may be off."""
    for name in NUMBERS:
        for mine, other in zip(ours[name][:5], theirs[name][:5], strict=True):
            assert abs(mine - other) <= CLOSE * max(abs(mine), 1), f"{engine}: {name}: {mine} and {other}"
        # The ends are known exactly; a digest may not know them.
        for mine, other in zip(ours[name][6:-1], theirs[name][6:-1], strict=True):
            apart = abs(mine - other) / (ours[name][2] - ours[name][1])
            assert apart < 0.02, f"{engine}: {name}: quantiles {mine} and {other}"
    for name in WORDS:
        assert ours[name] == theirs[name], f"{engine}: {name}: {ours[name]} and {theirs[name]}"
    assert sum(ours[WORDS[0]][1:2]) <= rows


def ours() -> Callable[[list[str], bool], dict[str, Any]]:
    """The pass that `mr.fit` takes."""
    import numpy as np

    from monorail.data.source import open_source
    from monorail.executors import open_executor
    from monorail.fit.between import Columns
    from monorail.fit.coding import text_columns
    from monorail.fit.passes import Reading, Work, run_pass
    from monorail.fit.statistics import NumberSummary, QuantileSketch, ValueCounts
    from monorail.fit.statistics import quantiles as read

    def run(paths: list[str], quantiles: bool) -> dict[str, Any]:
        names = (*NUMBERS, *WORDS)
        numbers = range(len(NUMBERS))
        wanted = [NumberSummary(place) for place in numbers]
        wanted += [ValueCounts(place) for place in range(len(NUMBERS), len(names))]
        wanted += [QuantileSketch(place) for place in numbers] if quantiles else []
        whole = Columns(names)
        with open_source(paths) as source, open_executor("local", THREADS) as executor:
            work = Work(Reading(names, text=text_columns(source.schema)), ((whole, tuple(wanted)),))
            found = run_pass(source, executor, work)
        answer: dict[str, Any] = {}
        for place, name in enumerate(NUMBERS):
            state = found[whole, NumberSummary(place)]
            answer[name] = [state.count, state.minimum, state.maximum, state.mean, state.variance(1) ** 0.5]
            if quantiles:
                answer[name] += read(found[whole, QuantileSketch(place)], np.linspace(0, 1, QUANTILES)).tolist()
        for place, name in enumerate(WORDS, len(NUMBERS)):
            state = found[whole, ValueCounts(place)]
            answer[name] = [state.distinct, state.top(1)[0][1], state.rows - state.nulls]
        return answer

    return run


def duck() -> Callable[[list[str], bool], dict[str, Any]]:
    """DuckDB: one query for the numbers, one for each column of text."""
    import duckdb

    def run(paths: list[str], quantiles: bool) -> dict[str, Any]:
        database = duckdb.connect()
        database.execute(f"SET threads = {THREADS}")
        shares = [place / (QUANTILES - 1) for place in range(QUANTILES)]
        parts = []
        for name in NUMBERS:
            parts += [f"{what}({name})" for what in ("count", "min", "max", "avg", "stddev_samp")]
            parts += [f"approx_quantile({name}, {shares})"] if quantiles else []
        row = iter(database.execute(f"SELECT {', '.join(parts)} FROM read_parquet(?)", [paths]).fetchone() or ())
        answer: dict[str, Any] = {}
        for name in NUMBERS:
            answer[name] = [next(row) for _ in range(5)] + (list(next(row)) if quantiles else [])
        for name in WORDS:
            counted = database.execute(
                f"SELECT {name}, count(*) AS n FROM read_parquet(?) GROUP BY 1 ORDER BY n DESC", [paths]
            ).fetchall()
            kept = [count for word, count in counted if word is not None]
            answer[name] = [len(kept), kept[0], sum(kept)]
        return answer

    return run


def polars() -> Callable[[list[str], bool], dict[str, Any]]:
    """Polars, streaming: one query for the numbers, one for each column of text."""
    import polars as pl

    def run(paths: list[str], quantiles: bool) -> dict[str, Any]:
        rows = pl.scan_parquet(paths)
        shares = [place / (QUANTILES - 1) for place in range(QUANTILES)]
        parts = []
        for name in NUMBERS:
            column = pl.col(name)
            parts += [column.count(), column.min(), column.max(), column.mean(), column.std()]
            parts += [column.quantile(shares, "linear")] if quantiles else []
        row = iter(
            rows.select(part.alias(str(place)) for place, part in enumerate(parts)).collect(engine="streaming").row(0)
        )
        answer: dict[str, Any] = {}
        for name in NUMBERS:
            answer[name] = [next(row) for _ in range(5)] + (list(next(row)) if quantiles else [])
        for name in WORDS:
            counted = rows.group_by(name).agg(pl.len().alias("n")).collect(engine="streaming")
            kept = counted.filter(pl.col(name).is_not_null())["n"]
            answer[name] = [len(kept), int(kept.max() or 0), int(kept.sum())]  # type: ignore[arg-type]
        return answer

    return run


#: What makes each engine ready; the function it gives is what is measured.
ENGINES: dict[str, Callable[[], Callable[[list[str], bool], dict[str, Any]]]] = {
    "monorail": ours,
    "DuckDB": duck,
    "Polars": polars,
}

if __name__ == "__main__":
    main()
