"""A FastStream worker with batch subscription that calls ONNX Runtime once a batch, as a careful author would.

Messages hold one record of named numbers each, which are not checked; what is parsed is FastStream's own work. Replies
go out together: in one pipeline to Redis, side by side to NATS. The pipeline is not the one that FastStream gives its
subscribers: that is a transaction, and answers a fifth fewer. Runs in the environment of the rivals. `GRAPH`
names the ONNX file, `COLUMNS` the columns in its order, `BROKER` the address, `REQUESTS` and `REPLIES` the streams,
`BATCH` how many messages at most.
"""

from __future__ import annotations

import asyncio
import json
import os
from operator import itemgetter
from typing import Any, cast

import numpy as np
import onnxruntime
import uvloop  # pyright: ignore[reportMissingImports]
from faststream import FastStream  # pyright: ignore[reportMissingImports]

BROKER, REQUESTS, REPLIES = (os.environ[name] for name in ("BROKER", "REQUESTS", "REPLIES"))
BATCH = int(os.environ["BATCH"])
COLUMNS = json.loads(os.environ["COLUMNS"])
OUTPUTS = ["label", "probability"]

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(os.environ["GRAPH"], options, providers=["CPUExecutionProvider"])
[model_input] = session.get_inputs()
in_order = itemgetter(*COLUMNS)


def score(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The predictions of a batch, in one call."""
    rows = np.array([in_order(record) for record in records], np.float64)
    labels, probabilities = cast(list[np.ndarray], session.run(OUTPUTS, {model_input.name: rows}))
    pairs = zip(labels.ravel().tolist(), probabilities.tolist(), strict=True)
    return [{"label": label, "probability": probability} for label, probability in pairs]


def redis() -> Any:
    """The worker on Redis Streams."""
    from faststream.redis import RedisBroker, StreamSub  # pyright: ignore[reportMissingImports]

    broker = RedisBroker(BROKER, logger=None)
    requests = StreamSub(REQUESTS, group="faststream", consumer="one", last_id="0", batch=True, max_records=BATCH)

    @broker.subscriber(stream=requests)
    async def answer(records: list[Any]) -> None:
        async with broker._connection.pipeline(transaction=False) as pipeline:
            for prediction in score(records):
                await broker.publish(prediction, stream=REPLIES, pipeline=pipeline)
            await pipeline.execute()

    return broker


def nats() -> Any:
    """The worker on NATS JetStream."""
    from faststream.nats import JStream, NatsBroker, PullSub  # pyright: ignore[reportMissingImports]

    broker = NatsBroker(BROKER, logger=None)
    requests = JStream("requests", declare=False)
    # A whole batch waits for no timer while messages are there.
    pulls = PullSub(batch_size=BATCH, batch=True, timeout=1.0)

    @broker.subscriber(REQUESTS, stream=requests, durable="faststream", pull_sub=pulls)
    async def answer(records: list[Any]) -> None:
        replies = (broker.publish(prediction, REPLIES, stream="replies") for prediction in score(records))
        await asyncio.gather(*replies)

    return broker


if __name__ == "__main__":
    uvloop.run(FastStream(redis() if BROKER.startswith("redis:") else nats(), logger=None).run())
