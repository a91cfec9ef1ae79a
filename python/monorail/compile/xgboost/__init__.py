"""Converters for XGBoost, one subject a file. Nothing here imports xgboost."""
