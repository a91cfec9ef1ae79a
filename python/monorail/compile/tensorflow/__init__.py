"""TensorFlow by tf2onnx."""
