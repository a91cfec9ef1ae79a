"""Two versions of a model side by side: the champion answers, the challenger can be asked too.

Run it: python examples/two_versions.py
"""

import tempfile

from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import monorail as mr


def main() -> None:
    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    candidates = {
        "champion": make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
        "challenger": RandomForestClassifier(100, random_state=0),
    }

    with tempfile.TemporaryDirectory() as folder:
        registry = mr.Registry(folder)
        for alias, model in candidates.items():
            model.fit(X_train, y_train)
            metrics = {"accuracy": model.score(X_test, y_test)}
            version = mr.save(model, "cancer", example=X_train, registry=folder, metrics=metrics, quiet=True)
            registry.set_alias("cancer", alias, version.version)
            print(f"{version} is the {alias}: {version.metrics['accuracy']:.3f}, {version.proof}")

        with (
            mr.serve("cancer@champion", "cancer@challenger", port=0, registry=folder) as server,
            mr.Client(server.url) as client,
        ):
            ours = client.predict("cancer@champion", X_test)["label"]
            theirs = client.predict("cancer@challenger", X_test)["label"]
            print(f"they disagree on {(ours != theirs).sum()} of {len(X_test)} rows")

            # The alias is moved in the registry. A running server goes on as it was started.
            registry.set_alias("cancer", "champion", 2)
            assert client.model("cancer@champion")["version"] == 1
            assert registry.version("cancer@champion").version == 2


if __name__ == "__main__":
    main()
