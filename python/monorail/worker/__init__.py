"""The worker: the process that runs a model's own code, in the model's environment.

Monorail is not installed there. What is imported here needs NumPy, pyarrow and what the model needs, nothing else.
"""
