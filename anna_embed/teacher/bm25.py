"""Lexical scores: BM25 by bm25s."""

import bm25s
import numpy as np
import Stemmer

from anna_embed.parsing import RecipeError


class BM25:
    """An index over passages.

    `method="atire"` is the report's formula with its `(k1 + 1)` in the numerator; the idf, which the report does not
    give, is ATIRE's `ln(N / df)`. English stop words and the Snowball stemmer.

    Args:
        texts (`list[str]`): The passages; results are indices into them.
        k1 (`float`): Saturation of the term frequency.
        b (`float`): Strength of the length normalisation.

    Raises:
        [`RecipeError`]: no passage holds a word to index.
    """

    def __init__(self, texts: list[str], k1: float = 1.5, b: float = 0.75):
        self.stemmer = Stemmer.Stemmer("english")
        self.size = len(texts)
        self.index = bm25s.BM25(method="atire", k1=k1, b=b)
        tokens = self._tokens(texts)
        if not any(tokens):
            raise RecipeError(f"pairs: none of the {len(texts)} passages, for example {texts[0][:80]!r}, holds a word "
                              "that BM25 could index (stop words and single letters are not); check the corpus.")
        self.index.index(tokens, show_progress=False)

    def _tokens(self, texts):
        return bm25s.tokenize(texts, stopwords="en", stemmer=self.stemmer, show_progress=False, return_ids=False)

    def scores(self, query: str) -> np.ndarray:
        """Scores of all passages for one query, float32 of shape (passages,); zero where no term is shared."""
        terms = [t for t in self._tokens([query])[0] if t in self.index.vocab_dict]
        return self.index.get_scores(terms) if terms else np.zeros(self.size, np.float32)

    def top_k(self, queries: list[str], k: int) -> list[np.ndarray]:
        """Indices of the k best passages of each query, equal scores in the passages' order.

        Passages that share no term with the query are never among them: they would be the first of the corpus, for
        every query the same.
        """
        found = []
        for query in queries:
            scores = self.scores(query)
            best = np.argsort(-scores, kind="stable")[:k]
            found.append(best[scores[best] > 0])
        return found
