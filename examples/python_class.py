"""A plain Python class with a file of its own: it runs in processes of its own, beside the server.

Run it: python examples/python_class.py
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from sklearn.datasets import load_iris

import monorail as mr


class Nearest:
    """Says which of some flowers, kept in a file, a new one is like."""

    row_wise = True
    idempotent = True

    def load(self, path: str) -> None:
        held = np.load(Path(path) / "flowers.npz")
        self.flowers, self.names = held["flowers"], held["names"]

    def warmup(self) -> None:
        self._nearest(self.flowers[:1])

    def predict(self, batch: pa.RecordBatch) -> dict[str, Any]:
        rows = np.column_stack([column.to_numpy() for column in batch.columns])
        place, distance = self._nearest(rows)
        return {"label": self.names[place].tolist(), "distance": distance}

    def _nearest(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        apart = np.linalg.norm(rows[:, None, :] - self.flowers[None], axis=2)
        return apart.argmin(axis=1), apart.min(axis=1)


def main() -> None:
    iris: Any = load_iris(as_frame=True)
    kept, asked = iris.data[::3], iris.data

    with tempfile.TemporaryDirectory() as folder:
        files, registry = Path(folder) / "files", Path(folder) / "registry"
        files.mkdir()
        np.savez(files / "flowers.npz", flowers=kept.to_numpy(), names=iris.target_names[iris.target[::3]])
        version = mr.save(Nearest(), "nearest", example=asked, files=files, registry=registry)
        print(version.proof)
        # Code in a bundle runs only with trust, or from a registry that nobody else can write to.
        with mr.serve("nearest", port=0, registry=registry, trust=True) as server, mr.Client(server.url) as client:
            answers = client.predict("nearest", asked)
        original = Nearest()
        original.load(str(files))

    print(answers.head())
    assert version.engine == "worker"
    expected = original.predict(pa.RecordBatch.from_pandas(asked))
    assert list(answers["label"]) == expected["label"]
    np.testing.assert_array_equal(answers["distance"], expected["distance"])


if __name__ == "__main__":
    main()
