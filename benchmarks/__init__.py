"""Benchmarks: each measures Monorail beside something else in the same run, and prints the ratio.

``make bench`` runs all of them; ``python -m benchmarks.NAME --help`` says what one takes.
"""
