"""The estimators of scikit-learn that no table can be answered by, with the reason. Imports nothing."""

from __future__ import annotations

_REASONS = {
    "groups only the rows it was fitted on: it has no predict": (
        "AgglomerativeClustering DBSCAN HDBSCAN OPTICS SpectralBiclustering SpectralClustering SpectralCoclustering"
    ),
    "places only the rows it was fitted on: it has no transform": "ClassicalMDS MDS SpectralEmbedding TSNE",
    "estimates a covariance: it has neither predict nor transform": (
        "EmpiricalCovariance GraphicalLasso GraphicalLassoCV LedoitWolf MinCovDet OAS ShrunkCovariance"
    ),
    "estimates a density: it has neither predict nor transform": "KernelDensity",
    "finds neighbours of a row: it has neither predict nor transform": "NearestNeighbors",
    "encodes targets, not rows of a table": "LabelBinarizer LabelEncoder MultiLabelBinarizer",
    "cuts images into patches: it gives more rows than it takes": "PatchExtractor",
}
NO_TABLE = {name: reason for reason, group in _REASONS.items() for name in group.split()}
"""The estimators that do not answer for new rows of a table, each with the reason."""
