"""Converters for CatBoost, one subject a file. Nothing here imports catboost."""
