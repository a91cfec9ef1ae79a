"""Run every benchmark, or those that are named: ``python -m benchmarks [NAME...] [--quick]``."""

from __future__ import annotations

import argparse
import sys

from . import (
    copies,
    engines,
    fit_lightgbm,
    fit_ray,
    fit_statistics,
    http_single_row,
    jobs,
    predict_flights,
    queues,
    score_parquet,
    score_spark,
    startup,
    tree_engine,
    worker_overhead,
)

BENCHMARKS = {
    "copies": copies,
    "engines": engines,
    "fit_lightgbm": fit_lightgbm,
    "fit_ray": fit_ray,
    "fit_statistics": fit_statistics,
    "http_single_row": http_single_row,
    "jobs": jobs,
    "predict_flights": predict_flights,
    "queues": queues,
    "score_parquet": score_parquet,
    "score_spark": score_spark,
    "startup": startup,
    "tree_engine": tree_engine,
    "worker_overhead": worker_overhead,
}


def main() -> int:
    """Run them one after the other."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; default: all")
    parser.add_argument("--quick", action="store_true", help="short runs, to see that everything works")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.names if name not in BENCHMARKS]:
        parser.error(f"there is no benchmark {unknown[0]}; there are {', '.join(BENCHMARKS)}")
    status = 0
    for name in arguments.names or BENCHMARKS:
        try:
            BENCHMARKS[name].main(["--quick"] if arguments.quick else [])
        except SystemExit as refusal:
            # One that lacks a program does not keep the others from running.
            print(f"{name}: {refusal}", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
