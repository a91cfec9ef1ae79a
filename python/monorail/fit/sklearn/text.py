"""Count and TF-IDF vectorizers and transformers: exact vocabularies from the frequencies of terms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...errors import FitError, InputError
from ..labels import is_text
from ..learning import Block, Inputs, Learner, Statistic
from .function import StatelessLearner

#: Terms that may be counted, rare ones too, about 150 bytes each and worker: which are kept only the end tells.
MOST_TERMS = 5_000_000

#: The parameters that decide into which terms a document is cut.
CUTTING = frozenset(
    {
        "analyzer",
        "decode_error",
        "encoding",
        "input",
        "lowercase",
        "ngram_range",
        "preprocessor",
        "stop_words",
        "strip_accents",
        "token_pattern",
        "tokenizer",
    }
)


@dataclass
class Terms:
    """What a pass found of the terms of documents, in the order of appearance.

    Attributes:
        rows: How many documents.
        documents: In how many documents each term is.
        occurrences: How often each is there in all.
    """

    rows: int = 0
    documents: Counter[str] = field(default_factory=Counter)
    occurrences: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class TermCounts(Statistic):
    """In how many documents of a column each term is.

    Attributes:
        place: Which column.
        key: What makes two vectorizers cut documents alike, so that their terms are counted once.
        occurrences: Whether to count how often each term is there in all, too.
        vectorizer: A CountVectorizer that is not fitted, or has a vocabulary: then only its terms are counted.
    """

    place: int
    key: str
    occurrences: bool
    vectorizer: Any = field(compare=False, repr=False)

    def start(self) -> Terms:
        """An empty state."""
        return Terms()

    def update(self, state: Terms, block: Block) -> Terms:
        """The state with a block's rows.

        Raises:
            InputError: ``null_not_allowed``: a document is null.
            FitError: ``cannot_fit``: there are more than :data:`MOST_TERMS` terms, or a document cannot be cut.
        """
        name = "the text" if block.batch is None else block.batch.schema.field(self.place).name
        analyze = self.vectorizer.build_analyzer()
        known = getattr(self.vectorizer, "vocabulary_", None)
        for number, document in enumerate(documents_of(block, self.place)):
            if document is None or document != document:
                where = {"row": int(block.row_numbers[number])} if block.start >= 0 else {}
                raise InputError(
                    f"`{name}` holds a null, which is no document",
                    code="null_not_allowed",
                    hint="fill it in, with an empty text for one, or leave its row out",
                    details=[{"code": "null_not_allowed", "column": name, **where}],
                )
            terms = analyze(document)
            if known is not None:
                terms = [term for term in terms if term in known]
            if self.occurrences:
                terms = list(terms)
                state.occurrences.update(terms)
            # The keys of a dict are counted in C, and keep the order in which the terms appear.
            state.documents.update(dict.fromkeys(terms).keys())
        state.rows += block.rows
        _check_terms(len(state.documents), name)
        return state

    def merge(self, state: Terms, later: Terms) -> Terms:
        """One state of two."""
        state.rows += later.rows
        state.documents.update(later.documents)
        state.occurrences.update(later.occurrences)
        _check_terms(len(state.documents))
        return state


def documents_of(block: Block, place: int) -> Iterable[Any]:
    """The documents of a block: text, None for null."""
    if block.batch is None:
        return block.matrix[:, place]
    return block.arrow(place).to_pylist()


def _check_terms(terms: int, name: str = "") -> None:
    if terms > MOST_TERMS:
        raise FitError(
            f"{f'`{name}`' if name else 'a column'} has more than {MOST_TERMS:,} different terms, too many to count",
            code="cannot_fit",
            hint="use HashingVectorizer, which keeps no vocabulary, shorter n-grams, or sample_rows= for this step",
            details=[{"code": "cannot_fit", **({"column": name} if name else {})}],
        )


class Frequencies:
    """Stands for the matrix of documents where scikit-learn chooses the terms to keep: it asks for frequencies alone.

    Args:
        rows: How many documents.
        documents: In how many of them each term is, int64.
        occurrences: How often each is there in all, in the type that the matrix' sums would have.
    """

    def __init__(self, rows: int, documents: np.ndarray, occurrences: np.ndarray) -> None:
        self.shape = (rows, len(documents))
        self.documents, self.occurrences = documents, occurrences
        #: The column of each term; scikit-learn sets it when it sorts them.
        self.indices = np.arange(len(documents))
        self.data = np.empty(0)

    @property
    def indptr(self) -> np.ndarray:
        """Where the columns end, were they compressed: what scikit-learn counts the documents of a term by."""
        return np.concatenate([[0], np.cumsum(self._by_column(self.documents))])

    def sum(self, axis: int) -> np.ndarray:
        """How often each term is there, by column."""
        return self._by_column(self.occurrences)

    def __getitem__(self, kept: Any) -> Frequencies:
        """The columns to keep are in the vocabulary, too; nothing else is asked then."""
        return self

    def _by_column(self, values: np.ndarray) -> np.ndarray:
        ordered = np.empty_like(values)
        ordered[self.indices] = values
        return ordered


class VectorizerLearner(Learner):
    """``CountVectorizer`` and ``TfidfVectorizer``: the vocabulary, chosen by scikit-learn from the frequencies."""

    def __init__(self, step: Any, inputs: Inputs) -> None:
        super().__init__(step, inputs)
        self._weighs = hasattr(step, "use_idf")
        self._counting: TermCounts | None = None
        self._fitted = False

    def refusal(self) -> str | None:
        """Parameters that scikit-learn refuses, and inputs that are not one column of text."""
        return _no_text(self.step, self.inputs)

    def wants(self) -> Sequence[Statistic]:
        """One pass; none where the vocabulary is given and nothing else is learnt."""
        if self._fitted:
            return ()
        if self.step.vocabulary is not None and not (self._weighs and self.step.use_idf):
            self._fit(Terms())
            return ()
        if self._counting is None:
            self._counting = self._statistic()
        return (self._counting,)

    def learn(self, found: Mapping[Statistic, Any]) -> None:
        """Fit the vectorizer.

        Raises:
            FitError: ``cannot_fit``: no terms are left, or scikit-learn refuses something else.
        """
        (terms,) = (state for statistic, state in found.items() if statistic == self._counting)
        self._fit(terms)

    def _statistic(self) -> TermCounts:
        from sklearn.base import clone

        vectorizer: Any = clone(self.step)
        if vectorizer.vocabulary is not None:
            vectorizer._validate_vocabulary()
        own = {name: value for name, value in vectorizer.get_params(deep=False).items() if name in CUTTING}
        if vectorizer.vocabulary is not None:
            own["vocabulary"] = id(self.step.vocabulary)
        return TermCounts(0, repr(sorted(own.items())), self.step.max_features is not None, vectorizer)

    def _fit(self, terms: Terms) -> None:
        from sklearn.feature_extraction.text import CountVectorizer

        step = self.step
        frequencies = _frequencies(step, terms)

        def count(_: Any, fixed: bool) -> tuple[dict[str, int], Frequencies]:
            step.build_analyzer()
            if fixed:
                return step.vocabulary_, frequencies
            if not terms.documents:
                raise ValueError("empty vocabulary; perhaps the documents only contain stop words")
            return {term: place for place, term in enumerate(terms.documents)}, frequencies

        # On the instance, ours is found before the method.
        step._count_vocab = count
        try:
            if self._weighs:
                step._check_params()
            CountVectorizer.fit_transform(step, ())
        except ValueError as error:
            raise FitError(str(error), code="cannot_fit") from error
        finally:
            del step._count_vocab
        if self._weighs:
            step._tfidf = _weights(step, terms)
        self._fitted = True


def _no_text(step: Any, inputs: Inputs) -> str | None:
    import pyarrow as pa
    from sklearn.base import clone

    copy: Any = clone(step)
    try:
        copy._validate_params()
        copy._validate_vocabulary()
    except (ValueError, TypeError) as error:
        return str(error)
    if step.input != "content":
        return f"it reads documents by name (input={step.input!r}), and fit is given the documents"
    if inputs.width != 1:
        return f"it takes one column of text, and is given {inputs.width}"
    kind = inputs.types[0]
    return None if is_text(kind) or pa.types.is_null(kind) else f"its column is not text but {kind}"


def _frequencies(step: Any, terms: Terms) -> Frequencies:
    import scipy.sparse

    documents = np.fromiter(terms.documents.values(), np.int64, len(terms.documents))
    occurrences = documents
    if step.max_features is not None and not step.binary:
        occurrences = np.fromiter((terms.occurrences[term] for term in terms.documents), np.int64, len(documents))
    # Ties are broken by a sort whose order depends on the type.
    kind = scipy.sparse.csr_array(np.ones((1, 1), step.dtype)).sum(axis=0).dtype
    return Frequencies(terms.rows, documents, occurrences.astype(kind))


def _weights(step: Any, terms: Terms) -> Any:
    """The fitted TfidfTransformer inside a TfidfVectorizer."""
    import scipy.sparse
    from sklearn.feature_extraction.text import TfidfTransformer

    transformer: Any = TfidfTransformer(
        norm=step.norm, use_idf=step.use_idf, smooth_idf=step.smooth_idf, sublinear_tf=step.sublinear_tf
    )
    documents = np.zeros(len(step.vocabulary_), np.int64)
    for term, place in step.vocabulary_.items():
        documents[place] = terms.documents.get(term, 0)
    transformer.fit(scipy.sparse.csr_array(np.ones((1, len(documents)), step.dtype)))
    if step.use_idf:
        transformer.idf_ = inverse_frequencies(transformer, documents, terms.rows)
    return transformer


def inverse_frequencies(transformer: Any, documents: np.ndarray, rows: int) -> np.ndarray:
    """What a ``TfidfTransformer`` multiplies each term by.

    Args:
        transformer: Fitted on some rows, so that the type is known.
        documents: In how many rows each feature is not zero, int64.
        rows: How many rows there are.
    """
    kind = transformer.idf_.dtype
    smooth = int(transformer.smooth_idf)
    holding = documents.astype(kind) + kind.type(smooth)
    # In the order and precision of scikit-learn's own, so that it is equal to the last bit.
    with np.errstate(divide="ignore"):
        return np.log(np.full_like(holding, rows + smooth) / holding) + kind.type(1)


@dataclass(frozen=True)
class FeatureRows(Statistic):
    """In how many rows of a matrix each feature is stored, or not zero in one that is dense."""

    def start(self) -> tuple[int, np.ndarray | None]:
        """An empty state: how many rows, and in how many of them each feature is."""
        return 0, None

    def update(self, state: tuple[int, np.ndarray | None], block: Block) -> tuple[int, np.ndarray | None]:
        """The state with a block's rows."""
        matrix: Any = block.dense if block.matrix is None else block.matrix
        if hasattr(matrix, "toarray"):
            found = np.bincount(matrix.tocsr().indices, minlength=block.width)
        else:
            found = np.count_nonzero(matrix, axis=0)
        return self.merge(state, (block.rows, found.astype(np.int64)))

    def merge(self, state: tuple[int, Any], later: tuple[int, Any]) -> tuple[int, Any]:
        """One state of two."""
        if state[1] is None or later[1] is None:
            return state[0] + later[0], later[1] if state[1] is None else state[1]
        return state[0] + later[0], state[1] + later[1]


class WeightsLearner(StatelessLearner):
    """``TfidfTransformer``: in how many documents each term is."""

    def wants(self) -> Sequence[Statistic]:
        """One pass; none where nothing is weighed."""
        if not self.step.use_idf:
            return super().wants()
        return () if self._fitted else (FeatureRows(),)

    def learn(self, found: Mapping[Statistic, Any]) -> None:
        """Fit the transformer."""
        rows, documents = found[FeatureRows()]
        # What is in no row of the sample may be in others.
        with np.errstate(divide="ignore"):
            self.step.fit(self.inputs.sample)
        self.step.idf_ = inverse_frequencies(self.step, documents, rows)
        self._fitted = True


#: By qualified class name.
LEARNERS = {
    "sklearn.feature_extraction.text.CountVectorizer": VectorizerLearner,
    "sklearn.feature_extraction.text.TfidfVectorizer": VectorizerLearner,
    "sklearn.feature_extraction.text.TfidfTransformer": WeightsLearner,
}
