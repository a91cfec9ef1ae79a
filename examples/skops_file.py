"""A skops file: its types are looked at before it is opened, so that no trust is needed.

Run it: python examples/skops_file.py
"""

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import skops.io
from sklearn.datasets import load_iris
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, PolynomialFeatures

import monorail as mr


def main() -> None:
    flowers: Any = load_iris(as_frame=True)
    X, y = flowers.data, flowers.target
    model = make_pipeline(PolynomialFeatures(), ExtraTreesClassifier(50, random_state=0)).fit(X, y)

    with tempfile.TemporaryDirectory() as folder:
        file, registry = Path(folder) / "iris.skops", Path(folder) / "registry"
        skops.io.dump(model, file)
        version = mr.save(file, "iris", example=X, registry=registry)
        print(version.proof)
        with mr.serve("iris", port=0, registry=registry) as server, mr.Client(server.url) as client:
            answers = client.predict("iris", X)

        # A file that would run something of the system is refused, and says what.
        skops.io.dump(make_pipeline(FunctionTransformer(os.system)), file)
        try:
            mr.save(file, "iris", example=X, registry=registry)
        except mr.errors.TrustError as error:
            print(error)
        else:
            raise AssertionError("the file was opened")

    assert version.engine == "native"
    assert list(answers["label"]) == list(model.predict(X))
    np.testing.assert_allclose(np.stack(answers["probability"]), model.predict_proba(X), rtol=1e-9, atol=1e-12)


if __name__ == "__main__":
    main()
