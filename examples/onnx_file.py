"""An ONNX file that something else wrote: here a classifier of the handwritten digits that scikit-learn ships.

Run it: python examples/onnx_file.py
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

import monorail as mr


def write_file(file: Path, weights: np.ndarray, shift: np.ndarray) -> None:
    """Softmax over a linear layer, on images of 8 x 8."""
    nodes = [
        helper.make_node("Flatten", ["image"], ["pixels"]),
        helper.make_node("Gemm", ["pixels", "weights", "shift"], ["logits"], transB=1),
        helper.make_node("Softmax", ["logits"], ["probability"]),
        helper.make_node("ArgMax", ["logits"], ["label"], axis=1, keepdims=0),
    ]
    held = [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(shift, "shift")]
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 8, 8])],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, ["batch"]),
            helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["batch", 10]),
        ],
        held,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), file)


def main() -> None:
    digits: Any = load_digits()
    images = digits.images.astype(np.float32) / 16
    fitted: Any = LogisticRegression(max_iter=200).fit(images.reshape(-1, 64), digits.target)

    with tempfile.TemporaryDirectory() as folder:
        file, registry = Path(folder) / "digits.onnx", Path(folder) / "registry"
        write_file(file, fitted.coef_.astype(np.float32), fitted.intercept_.astype(np.float32))
        original: Any = onnxruntime.InferenceSession(str(file))
        version = mr.save(file, "digits", example=images[:500], registry=registry)
        print(version.signature)
        print(version.proof)
        with mr.serve("digits", port=0, registry=registry) as server, mr.Client(server.url) as client:
            answers = client.predict("digits", images)

    label, probability = original.run(None, {"image": images})
    print(f"{np.mean(answers['label'] == digits.target):.1%} of {len(images)} images are read right")
    assert version.engine == "native"
    assert list(answers["label"]) == list(label)
    np.testing.assert_allclose(answers["probability"], probability, rtol=1e-5, atol=1e-6)


if __name__ == "__main__":
    main()
