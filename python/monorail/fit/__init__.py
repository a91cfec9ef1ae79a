"""Fit scikit-learn pipelines, boosters and searches on data of any size."""
