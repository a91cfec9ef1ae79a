"""PyTorch's own exporter, with a batch of any size."""
