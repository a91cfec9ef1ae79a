"""Graphs that others wrote: ONNX files and what frameworks export."""
