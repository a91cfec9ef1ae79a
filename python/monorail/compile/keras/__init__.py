"""Keras' own exporter."""
