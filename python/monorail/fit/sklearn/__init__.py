"""Learners and trainers of scikit-learn's estimators, a file a family."""
