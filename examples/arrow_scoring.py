"""Score Arrow data without pandas: a table in this process, a stream over HTTP, and Parquet a piece at a time.

Run it: python examples/arrow_scoring.py
"""

import tempfile
from pathlib import Path

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from lightgbm import LGBMRegressor

import monorail as mr

ARROW = "application/vnd.apache.arrow.stream"


def readings(rows: int) -> pa.Table:
    """Made-up readings of wind turbines; the temperature is missing at times."""
    random = np.random.default_rng(rows)
    temperature = pa.array(random.normal(8, 6, rows), mask=random.random(rows) < 0.05)
    wind, blade = random.gamma(3.0, 2.5, rows), random.integers(0, 90, rows)
    return pa.table({"wind_m_s": wind, "blade_degrees": blade, "temperature": temperature})


def main() -> None:
    training = readings(20_000)
    X = training.to_pandas()
    power = np.minimum(X["wind_m_s"] ** 3, 900) * np.cos(np.radians(X["blade_degrees"]))
    model = LGBMRegressor(n_estimators=50, verbose=-1).fit(X, power)

    with tempfile.TemporaryDirectory() as folder:
        version = mr.save(model, "turbine", example=X, registry=folder, quiet=True)
        turbine = mr.load(version)

        # A table in, a table out; buffers are shared, not copied.
        table = readings(100_000)
        answers = turbine.predict(table)
        print(answers.schema, answers["prediction"][:3].to_pylist())

        # Parquet larger than memory: a batch at a time.
        source, target = Path(folder, "readings.parquet"), Path(folder, "power.parquet")
        pq.write_table(table, source)
        schema = table.schema.append(pa.field("prediction", pa.float64()))
        with pq.ParquetFile(source) as reader, pq.ParquetWriter(target, schema) as writer:
            for batch in reader.iter_batches(batch_size=20_000):
                scored = turbine.predict(batch)
                writer.write_batch(pa.record_batch([*batch.columns, scored["prediction"]], schema=schema))
        assert pq.read_table(target)["prediction"].to_pylist() == answers["prediction"].to_pylist()

        # Over HTTP from anything that speaks Arrow; no client of ours is needed.
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table.slice(0, 1_000))
        with mr.serve(version, port=0, registry=folder) as server:
            reply = httpx.post(
                f"{server.url}/models/turbine/predict",
                content=sink.getvalue().to_pybytes(),
                headers={"content-type": ARROW},
            ).raise_for_status()
        remote = pa.ipc.open_stream(reply.content).read_all()
        assert remote["prediction"].to_pylist() == answers["prediction"][:1_000].to_pylist()
        print(f"{len(remote):,} rows scored over HTTP, the same answers")


if __name__ == "__main__":
    main()
