"""Lexical scores: BM25 by bm25s, over an index that may stay on disk."""

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from tempfile import TemporaryDirectory

import bm25s
import numpy as np
import Stemmer
from tqdm import tqdm

from anna_embed.parsing import RecipeError
from anna_embed.teacher.corpus import Corpus
from anna_embed.teacher.postings import META, write_postings
from anna_embed.teacher.shards import Processes

BLOCK = 8192  # texts tokenised at a time


class BM25:
    """An index over passages.

    `method="atire"` is the report's formula with its `(k1 + 1)` in the numerator; the idf, which the report does not
    give, is ATIRE's `ln(N / df)`.

    Args:
        texts (`Iterable[str]`): The passages, read once and only if there is no index yet; results are indices into
            them.
        k1 (`float`): Saturation of the term frequency.
        b (`float`): Strength of the length normalisation.
        stemmer (`str`): Language of a Snowball stemmer, or `"none"`.
        stop_words (`str`): Language of a list of bm25s, or `"none"`.
        folder (`Path`, *optional*): Where the index is, or is to be, kept and mapped from; otherwise it is in memory.

    Raises:
        [`RecipeError`]: no passage holds a word to index.
    """

    def __init__(self, texts: Iterable[str], k1: float = 1.5, b: float = 0.75, stemmer: str = "english",
                 stop_words: str = "english", folder: Path | None = None):
        self.stemmer = None if stemmer == "none" else Stemmer.Stemmer(stemmer)
        self.stop_words = None if stop_words == "none" else stop_words
        self.index = bm25s.BM25(method="atire", k1=k1, b=b)
        if folder is None:
            with TemporaryDirectory() as temporary:
                self._write(Path(temporary), texts)
                self._read(Path(temporary), mapped=False)
        else:
            if not folder.is_dir():
                partial = folder.with_name(folder.name + ".tmp")
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir(parents=True)
                self._write(partial, texts)
                partial.rename(folder)
            self._read(folder, mapped=True)

    def _write(self, folder, texts):
        texts = iter(texts)
        example = list(islice(texts, 1))
        documents = chain.from_iterable(map(self._tokens, _blocks(chain(example, texts))))
        size, tokens = write_postings(folder, documents, self.index.k1, self.index.b)
        if not tokens:
            raise RecipeError(f"pairs: none of the {size} passages, for example {''.join(example)[:80]!r}, holds a "
                              "word that BM25 could index (stop words and single letters are not); check the corpus.")

    def _read(self, folder, mapped):
        meta = json.loads((folder / META).read_text(encoding="utf-8"))
        self.size = meta["documents"]
        self.index.load_scores(folder, num_docs=self.size, mmap=mapped)
        self.index.vocab_dict, self.index.nonoccurrence_array = meta["vocabulary"], None

    def _tokens(self, texts):
        return bm25s.tokenize(texts, stopwords=self.stop_words, stemmer=self.stemmer, show_progress=False,
                              return_ids=False)

    def scores(self, query: str) -> np.ndarray:
        """Scores of all passages for one query, float32 of shape (passages,); zero where no term is shared."""
        terms = [t for t in self._tokens([query])[0] if t in self.index.vocab_dict]
        return self.index.get_scores(terms) if terms else np.zeros(self.size, np.float32)

    def top_k(self, queries: list[str], k: int) -> list[np.ndarray]:
        """Indices of the k best passages of each query, as `best_matching` takes them from its scores."""
        return [best_matching(self.scores(query), k) for query in queries]


def best_matching(scores: np.ndarray, k: int) -> np.ndarray:
    """Indices of the k highest scores, best first, equal scores in the passages' order.

    Passages that share no term with the query are never among them: they would be the first of the corpus, for every
    query the same.

    Args:
        scores (`np.ndarray`): (passages,), of one query.
        k (`int`): At most so many.
    """
    found = np.flatnonzero(scores > 0)
    if len(found) > k:
        values = scores[found]
        found = found[values >= np.partition(values, len(found) - k)[len(found) - k]]  # and all that equal the last
    return found[np.argsort(-scores[found], kind="stable")[:k]]


def kept_index(folder: Path, corpus: Corpus, config, processes: Processes, description: str = "Indexing") -> BM25:
    """The index of a corpus, made once by one process and then mapped by all, in any run.

    Args:
        folder (`Path`): Holds one folder per set of texts and parameters.
        corpus (`Corpus`): The passages.
        config (`ScoreConfig`): The keys that begin with `bm25_`.
        processes (`Processes`): Of the run.
        description (`str`): Stands in front of the bar.
    """
    parameters = (config.bm25_k1, config.bm25_b, config.bm25_stemmer, config.bm25_stop_words)
    made_from = json.dumps([bm25s.__version__, *parameters]).encode() + corpus.keys.tobytes()
    at = folder / hashlib.sha256(made_from).hexdigest()[:24]
    with processes.together():
        if processes.state.is_main_process and not at.is_dir():
            BM25(tqdm(corpus.all_texts(), total=len(corpus), desc=description, unit="passage"), *parameters, at)
    return BM25((), *parameters, at)


def _blocks(texts) -> Iterator[list[str]]:
    while block := list(islice(texts, BLOCK)):
        yield block
