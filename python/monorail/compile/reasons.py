"""Why classes that are known do not compile, in words for the person who saves the model; continues "it"."""

from __future__ import annotations

_TEXT = "it splits and lower-cases text by Python's tables of characters, which the runtime does not have"
_HASH = "it hashes words, for which the runtime has no operator"
_BATCH = "how long it searches depends on all rows of a batch together, so a row has no answer of its own"
REASONS = {
    "sklearn.feature_extraction.text.CountVectorizer": _TEXT,
    "sklearn.feature_extraction.text.TfidfVectorizer": _TEXT,
    "sklearn.feature_extraction.text.HashingVectorizer": _HASH,
    "sklearn.feature_extraction._hash.FeatureHasher": _HASH,
    "sklearn.decomposition._nmf.NMF": _BATCH,
    "sklearn.decomposition._nmf.MiniBatchNMF": _BATCH,
    "sklearn.impute._knn.KNNImputer": (
        "of training rows that are just as far it takes those that a partial sort leaves in front, which nothing but "
        "that sort can tell"
    ),
    "sklearn.impute._iterative.IterativeImputer": (
        "it leaves a batch as it is where every value of it is missing, so a row has no answer of its own"
    ),
}
"""By qualified class name."""
