"""CatBoost: the file that it writes, on the patients that scikit-learn ships.

Run it: python examples/catboost_diabetes.py
"""

import tempfile
from pathlib import Path
from typing import Any

import catboost
import numpy as np
from sklearn.datasets import load_diabetes

import monorail as mr


def main() -> None:
    patients: Any = load_diabetes(as_frame=True, scaled=False)
    # Every other patient is kept to ask about.
    X, y, held_out = patients.data[::2], patients.target[::2], patients.data[1::2]
    model = catboost.CatBoostRegressor(iterations=200, verbose=False, allow_writing_files=False).fit(X, y)

    with tempfile.TemporaryDirectory() as folder:
        # A fitted model can be saved as it is; so can its file, here and with `monorail save diabetes.cbm`.
        file = Path(folder) / "diabetes.cbm"
        model.save_model(str(file))
        registry = Path(folder) / "registry"
        version = mr.save(file, "diabetes", example=X, registry=registry)
        print(version.proof)
        with mr.serve("diabetes", port=0, registry=registry) as server, mr.Client(server.url) as client:
            answers = client.predict("diabetes", held_out)

    print(answers.head())
    assert version.engine == "native"
    np.testing.assert_allclose(answers["prediction"], model.predict(held_out), rtol=1e-9)


if __name__ == "__main__":
    main()
