"""Lexical scores: BM25 by bm25s."""

import bm25s
import numpy as np
import Stemmer


class BM25:
    """An index over passages.

    `method="atire"` is the report's formula with its `(k1 + 1)` in the numerator; the idf, which the report does not
    give, is ATIRE's `ln(N / df)`. English stop words and the Snowball stemmer.

    Args:
        texts (`list[str]`): The passages; results are indices into them.
        k1 (`float`): Saturation of the term frequency.
        b (`float`): Strength of the length normalisation.
    """

    def __init__(self, texts: list[str], k1: float = 1.5, b: float = 0.75):
        self.stemmer = Stemmer.Stemmer("english")
        self.size = len(texts)
        self.index = bm25s.BM25(method="atire", k1=k1, b=b)
        self.index.index(self._tokens(texts), show_progress=False)

    def _tokens(self, texts):
        return bm25s.tokenize(texts, stopwords="en", stemmer=self.stemmer, show_progress=False, return_ids=False)

    def scores(self, query: str) -> np.ndarray:
        """Scores of all passages for one query, float32 of shape (passages,); zero where no term is shared."""
        terms = [t for t in self._tokens([query])[0] if t in self.index.vocab_dict]
        return self.index.get_scores(terms) if terms else np.zeros(self.size, np.float32)

    def top_k(self, queries: list[str], k: int) -> np.ndarray:
        """Indices of the k best passages of each query, shape (queries, k); equal scores in the passages' order."""
        k = min(k, self.size)
        found = np.empty((len(queries), k), np.int64)
        for row, query in enumerate(queries):
            scores = self.scores(query)
            found[row] = np.argsort(-scores, kind="stable")[:k]
        return found
