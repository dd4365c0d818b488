"""The postings of a BM25 index, written to disk a block of documents at a time.

bm25s holds what it indexes in memory several times over (33 bytes a posting at 7 million of them); what is written
here are the same arrays, which bm25s then maps and searches.
"""

import json
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

BLOCK = 1 << 22  # tokens in memory at a time
DATA, INDICES, INDPTR = "data.csc.index.npy", "indices.csc.index.npy", "indptr.csc.index.npy"  # bm25s's names
META = "index.json"


def write_postings(folder: Path, documents: Iterable[list[str]], k1: float, b: float) -> tuple[int, int]:
    """Writes the arrays of bm25s's index, and the vocabulary beside them; returns how many documents and tokens.

    A posting is `idf f (k1 + 1) / (f + k1 (1 - b + b |d| / mean |d|))` with `idf = ln(N / df)`: ATIRE, rounded where
    bm25s rounds.

    Args:
        folder (`Path`): Is written into.
        documents (`Iterable[list[str]]`): The tokens of each document; read once.
        k1, b (`float`): BM25's parameters.
    """
    spool = folder / "tokens.tmp"
    lengths, vocabulary = _number(spool, documents)
    if lengths.any():
        tokens, mean = np.memmap(spool, np.int32, "r"), lengths.mean()
        frequency = np.zeros(len(vocabulary), np.int64)
        for term, _, _ in _blocks(tokens, lengths):
            frequency += np.bincount(term, minlength=len(frequency))
        idf = np.log(len(lengths) / frequency).astype(np.float32)
        head = np.concatenate([[0], np.cumsum(frequency)])
        np.save(folder / INDPTR, head)
        data = np.lib.format.open_memmap(folder / DATA, "w+", np.float32, (int(head[-1]),))
        indices = np.lib.format.open_memmap(folder / INDICES, "w+", np.int32, (int(head[-1]),))
        for term, document, count in _blocks(tokens, lengths):
            here = np.bincount(term, minlength=len(frequency))
            place = head[term] + np.arange(len(term)) - (np.cumsum(here) - here)[term]
            head[:-1] += here
            saturated = count.astype(np.float32) * (k1 + 1) / (count + k1 * (1 - b + b * lengths[document] / mean))
            data[place], indices[place] = idf[term] * saturated, document
    spool.unlink()
    meta = {"documents": len(lengths), "vocabulary": vocabulary}
    (folder / META).write_text(json.dumps(meta, ensure_ascii=False), encoding="utf-8")
    return len(lengths), int(lengths.sum())


def _number(spool, documents):
    """Writes the tokens of all documents as int32; their lengths, and the number of each token."""
    vocabulary, lengths = {}, array("q")
    with spool.open("wb") as stream:
        for tokens in documents:
            lengths.append(len(tokens))
            stream.write(array("i", [vocabulary.setdefault(token, len(vocabulary)) for token in tokens]))
    return np.array(lengths), vocabulary


def _blocks(tokens, lengths) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Term, document and count of each posting of a block of documents, sorted by term, then document."""
    ends, first = np.cumsum(lengths), 0
    while first < len(lengths):
        start = ends[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(ends, start + BLOCK, side="right")))
        document = np.repeat(np.arange(first, last), lengths[first:last])
        both = tokens[start: ends[last - 1]].astype(np.int64) << 32 | document
        both, count = np.unique(both, return_counts=True)
        yield both >> 32, both & 0xFFFFFFFF, count
        first = last
