"""PyTorch modules as graphs: any batch, several inputs and outputs, every element type; and what cannot be one."""

# pyright: reportMissingImports=false

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import monorail as mr
from monorail.adapters import find_adapter
from monorail.adapters.files import open_model
from monorail.errors import CompileError, InputError, TrustError

CLOSE = 1e-5


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def ask(module: nn.Module, *inputs: np.ndarray) -> Any:
    """The module's own answer, in evaluation mode."""
    module.eval()
    with torch.no_grad():
        return module(*(torch.from_numpy(values) for values in inputs))


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3), nn.Softmax(1))


def test_module_over_an_array(saved, random):
    X = random.normal(size=(200, 4)).astype(np.float32)
    module = mlp()
    assert module.training
    model = saved(module, X)
    assert module.training, "saving leaves the module as it was"
    for rows in (1, 2, 7, 200):
        np.testing.assert_allclose(model.predict(X[:rows]), ask(module, X[:rows]), rtol=CLOSE, atol=CLOSE)
    column = model.signature.inputs[0]
    assert (column.name, column.dtype, column.shape) == ("input", "float32", (4,))


def test_module_over_a_frame_of_mixed_numbers(saved, random):
    frame = pd.DataFrame({"a": random.normal(size=80), "b": random.integers(0, 9, 80), "c": random.random(80) > 0.5})
    frame["d"] = random.normal(size=80).astype(np.float32)
    module = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1))
    answers = saved(module, frame).predict(frame)
    expected = ask(module, frame.to_numpy(np.float64).astype(np.float32))
    np.testing.assert_allclose(answers["prediction"], expected[:, 0], rtol=CLOSE, atol=CLOSE)


def test_double_stays_double(saved, random):
    X = random.normal(size=(50, 4))
    module = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2)).double()
    model = saved(module, X, rtol=1e-12, atol=1e-12)
    assert model.signature.outputs[0].type == "float64"
    np.testing.assert_allclose(model.predict(X), ask(module, X), rtol=1e-12)


def test_images(saved, random):
    X = random.random((30, 1, 8, 8), dtype=np.float32)
    module = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
    module = nn.Sequential(module, nn.Linear(27, 5))
    np.testing.assert_allclose(saved(module, X).predict(X), ask(module, X), rtol=CLOSE, atol=CLOSE)


class Recommender(nn.Module):
    """Ids and features in; a score and what it is made from out."""

    def __init__(self) -> None:
        super().__init__()
        self.users, self.score = nn.Embedding(10, 4), nn.Linear(7, 1)

    def forward(self, user: Any, features: Any, weight: Any = None) -> dict[str, Any]:
        hidden = torch.cat([self.users(user), features], 1)
        hidden = hidden if weight is None else hidden * weight[:, None]
        return {"score": self.score(hidden), "hidden": hidden}


def test_several_inputs_by_name_and_outputs_by_key(saved, random):
    user, features = random.integers(0, 10, 60), random.normal(size=(60, 3)).astype(np.float32)
    module = Recommender()
    model = saved(module, {"features": features, "user": user})
    assert [(output.name, output.size) for output in model.signature.outputs] == [("score", None), ("hidden", 7)]
    expected = ask(module, user, features)
    answers = model.predict({"features": features, "user": user})
    np.testing.assert_allclose(answers["score"], expected["score"][:, 0], rtol=CLOSE, atol=CLOSE)
    np.testing.assert_allclose(np.stack(answers["hidden"]), expected["hidden"], rtol=CLOSE, atol=CLOSE)
    weight = random.random(60)
    answers = saved(module, {"features": features, "user": user, "weight": weight}).predict(
        {"features": features, "user": user, "weight": weight}
    )
    expected = ask(module, user, features, weight.astype(np.float32))
    np.testing.assert_allclose(answers["score"], expected["score"][:, 0], rtol=CLOSE, atol=CLOSE)


class Pair(NamedTuple):
    mean: Any
    spread: Any


def test_outputs_of_every_kind(saved, random):
    class Both(nn.Module):
        def __init__(self, kind: Any) -> None:
            super().__init__()
            self.layer, self.kind = nn.Linear(3, 2), kind

        def forward(self, x: Any) -> Any:
            y = self.layer(x)
            return self.kind(y, y.abs())

    X = random.normal(size=(20, 3)).astype(np.float32)
    for kind, names in ((Pair, ["mean", "spread"]), (lambda *y: y, ["prediction", "output_1"])):
        model = saved(Both(kind), X)
        assert [output.name for output in model.signature.outputs] == names


def test_what_has_no_row_a_record_is_left_out(random, tmp_path, capsys):
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cells = nn.LSTM(3, 5, batch_first=True)

        def forward(self, x: Any) -> Any:
            steps, (last, _) = self.cells(x)
            return steps[:, -1], last

    X = random.normal(size=(20, 7, 3)).astype(np.float32)
    version = mr.save(Recurrent(), "m", example=X, registry=tmp_path / "registry", engine="native")
    assert [output.name for output in version.signature.outputs] == ["prediction"]
    assert "the output `output_1` is left out" in capsys.readouterr().err


def test_encoder_answers_alike_whatever_its_company(saved, random):
    """The fast path of the encoder would answer a row by the padding of its neighbours."""

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2)

        def forward(self, tokens: Any, padding: Any) -> Any:
            return self.inner(tokens, src_key_padding_mask=padding)

    tokens = random.normal(size=(40, 5, 8)).astype(np.float32)
    padding = np.zeros((40, 5), bool)
    padding[::2, 3:] = True
    module = Encoder()
    fast = torch.backends.mha.get_fastpath_enabled()
    model = saved(module, {"tokens": tokens, "padding": padding})
    assert torch.backends.mha.get_fastpath_enabled() == fast
    whole = model.predict({"tokens": tokens, "padding": padding})["prediction"]
    alone = [model.predict({"tokens": tokens[i : i + 1], "padding": padding[i : i + 1]}) for i in range(4)]
    for row, answer in enumerate(alone):
        np.testing.assert_allclose(answer["prediction"][0], whole[row], rtol=CLOSE, atol=CLOSE)


def test_what_torch_cannot_export_says_why(saved, random, tmp_path):
    class Branching(nn.Module):
        def forward(self, x: Any) -> Any:
            return x * 2 if x.sum() > 0 else x - 1

    X = random.normal(size=(20, 4)).astype(np.float32)
    with pytest.raises(CompileError, match=r"torch cannot export the module: .*data-dependent"):
        saved(Branching(), X)
    with pytest.raises(CompileError, match=r"the module fails on a batch of zeros: RuntimeError: .*mat1 and mat2"):
        saved(mlp(), X[:, :2])
    with pytest.raises(CompileError, match="torch has no tensors of text"):
        saved(mlp(), pd.DataFrame({"a": ["x", "y"]}))


def test_what_torch_cannot_export_runs_in_a_worker(random, tmp_path):
    class Branching(nn.Module):
        def forward(self, x: Any) -> Any:
            return {"less": x * 2 if x.sum() > 1e9 else x - 1, "size": x.abs().sum(1)}

    X = random.normal(size=(20, 4)).astype(np.float32)
    version = mr.save(Branching(), "m", example=X, registry=tmp_path / "registry", quiet=True)
    assert version.engine == "worker"
    assert [(output.name, output.size) for output in version.signature.outputs] == [("less", 4), ("size", None)]
    model = mr.load("m", registry=tmp_path / "registry", trust=True)
    np.testing.assert_allclose(model.predict(X)["less"], X - 1, rtol=CLOSE)


def test_a_graph_that_no_bundle_may_hold_runs_in_a_worker(random, tmp_path):
    """Torch writes this layer as a loop whose end depends on the data."""
    X = random.integers(0, 10, (40, 5))
    module = nn.EmbeddingBag(10, 3)
    version = mr.save(module, "m", example=X, registry=tmp_path / "registry", quiet=True)
    assert version.engine == "worker"
    assert "the number of the loop's turns is not a constant" in str(version.reason)
    model = mr.load("m", registry=tmp_path / "registry", trust=True)
    np.testing.assert_allclose(model.predict(X), ask(module, X), rtol=CLOSE, atol=CLOSE)


def test_exported_program_and_its_file(saved, random):
    X = random.normal(size=(50, 4)).astype(np.float32)
    module = mlp().eval()
    shapes = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(module, (torch.from_numpy(X[:3]),), dynamic_shapes=shapes)
    np.testing.assert_allclose(saved(program, X).predict(X), ask(module, X), rtol=CLOSE, atol=CLOSE)
    torch.export.save(program, "model.pt2")
    with pytest.raises(TrustError, match="is an exported program"):
        open_model("model.pt2")
    np.testing.assert_allclose(saved("model.pt2", X, trust=True).predict(X), ask(module, X), rtol=CLOSE, atol=CLOSE)


def test_files_of_modules_need_trust(saved, random):
    X = random.normal(size=(50, 4)).astype(np.float32)
    module = mlp()
    torch.save(module, "model.pt")
    torch.save(module.state_dict(), "weights.pth")
    with pytest.raises(TrustError, match="opens a pickle"):
        open_model("model.pt")
    np.testing.assert_allclose(saved("model.pt", X, trust=True).predict(X), ask(module, X), rtol=CLOSE, atol=CLOSE)
    with pytest.raises(InputError, match="holds a OrderedDict, not a module"):
        open_model("weights.pth", trust=True)


def test_mlflow_folder(saved, random, tmp_path):
    X = random.normal(size=(50, 4)).astype(np.float32)
    module = mlp()
    folder = tmp_path / "model"
    (folder / "data").mkdir(parents=True)
    torch.save(module, folder / "data" / "model.pth")
    (folder / "MLmodel").write_text("flavors: {pytorch: {model_data: data}}")
    np.testing.assert_allclose(saved(folder, X, trust=True).predict(X), ask(module, X), rtol=CLOSE, atol=CLOSE)


def test_keras_models_and_modules_are_told_apart():
    assert find_adapter(mlp()).framework == "torch"
