"""Pairs for the cross-encoder in batches of like length, across queries, under a budget of tokens."""

from collections.abc import Iterator

import numpy as np

from anna_embed.teacher import reranker


def score_in_batches(model, pairs: list[tuple[str, str]], token_budget: int) -> np.ndarray:
    """`reranker.score` of pairs of any number of queries, float32 of shape (pairs,).

    Args:
        model (`CrossEncoder`): The cross-encoder.
        pairs (`list[tuple[str, str]]`): Query and passage.
        token_budget (`int`): Tokens of a batch, padding included; a longer pair has a batch of its own.
    """
    lengths = pair_lengths(model, pairs)
    order = np.argsort(-lengths, kind="stable")  # the longest first: what does not fit into memory shows at once
    scores = np.empty(len(pairs), np.float32)
    for batch in under_budget(lengths[order], token_budget):
        places = order[batch]
        scores[places] = reranker.score(model, [pairs[p] for p in places], batch_size=len(places))
    return scores


def pair_lengths(model, pairs: list[tuple[str, str]]) -> np.ndarray:
    """Tokens of each pair as the model reads it, int64 of shape (pairs,); each text is tokenised once."""
    texts = sorted({"a", *(text for pair in pairs for text in pair)})
    ids = model.tokenizer(texts, add_special_tokens=False, truncation=True, max_length=model.max_seq_length)
    length = dict(zip(texts, map(len, ids["input_ids"])))
    around = model.preprocess([("a", "a")])["input_ids"].shape[1] - 2 * length["a"]  # separators, or a template
    return np.minimum([length[query] + length[passage] + around for query, passage in pairs], model.max_seq_length)


def under_budget(lengths: np.ndarray, token_budget: int) -> Iterator[slice]:
    """Cuts lengths, descending, so that each part times its longest is within the budget; one alone may be above."""
    first = 0
    while first < len(lengths):
        last = first + max(1, token_budget // int(lengths[first]))
        yield slice(first, last)
        first = last
