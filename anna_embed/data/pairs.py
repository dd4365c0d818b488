"""One task's pairs and passages, ready to be written."""

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

from anna_embed.data.audit import Protected, drop_protected, overlaps
from anna_embed.data.convert import convert
from anna_embed.data.rows import look_up, lookup_table, read_rows
from anna_embed.data.source import Source
from anna_embed.data.texts import by_hash, text_id
from anna_embed.kinds import KINDS
from anna_embed.located import Located


@dataclass
class Table:
    """What one split of one task becomes.

    Args:
        pairs (`list[dict]`): Rows of `schema.PAIRS`.
        passages (`list[dict]`): Rows of `schema.CORPUS`; none for kinds that are not retrieved from.
        dropped (`Counter`): Rows left out, by reason.
        steps (`Counter`): Counts along the way: `rows = pairs + dropped + contradictions kept as hard negatives`.
    """

    pairs: list[dict[str, Any]]
    passages: list[dict[str, Any]]
    dropped: Counter
    steps: Counter


def held_out(source: Source, at: Located, seed: int, protected: Protected) -> Table:
    """The rows that are never trained on; `protected` learns their texts, and that these are always dropped."""
    whole = replace(source, leave_out={})  # which is for training rows, as a slice in `split` is
    pairs, corpus, dropped, steps = read_pairs(whole, at, source.test_split or source.split.partition("[")[0], seed)
    retrieval = KINDS[source.kind].scored
    pairs, over = sample(pairs, source.test_limit, seed, by="positive_id" if retrieval else "query_id")
    protected.add(source.name, (p["query"] for p in pairs), always=True)
    if source.kind != "classification":
        protected.add(source.name, (p["positive"] for p in pairs), always=True)
    if source.kind == "nli":
        protected.add(source.name, (text for p in pairs for text in p["negatives"]), always=True)
    passages = sample_corpus(corpus, pairs, source.test_limit, seed) if retrieval else []
    return Table(pairs, passages, dropped + Counter({"over test_limit": over}), steps)


def training(source: Source, at: Located, seed: int, protected: Protected) -> Table:
    """The rows to train on; those that occur in a test set are dropped, or at least counted. Those that occur in
    held-out rows are dropped in any case.

    Raises:
        [`RecipeError`]: every row occurs in a test set or in held-out rows.
    """
    pairs, corpus, dropped, steps = read_pairs(source, at, source.split, seed)
    if protected.drop:
        kept, corpus, seen, gone = _without(source, pairs, corpus, protected, "a test set")
        if not kept:
            free, *_ = drop_protected(pairs, source.kind, protected.held_out)
            remedies = "train on another split, or set decontaminate: false" if free else "or train on another split"
            raise source.error(f"all {len(pairs)} training pairs occur in a test set ({dict(seen)}); leave the task "
                               f"out, {remedies}.")
        steps += overlaps(pairs, source.kind, protected) + gone
        pairs, over = sample(kept, source.limit, seed)
    else:
        kept, corpus, seen, gone = _without(source, pairs, corpus, protected.held_out, "held-out rows")
        if not kept:
            raise source.error(f"all training pairs occur in held-out rows ({dict(seen)}); train on another split.")
        pairs, over = sample(kept, source.limit, seed)  # before counting: the counts are of what is trained on
        _, tested, _ = drop_protected(pairs, source.kind, protected)
        steps += gone + overlaps(pairs, source.kind, protected)
        steps += Counter({f"kept although the {reason}": n for reason, n in tested.items()})
    passages = sample_corpus(corpus, pairs, source.corpus_limit, seed) if KINDS[source.kind].scored else []
    return Table(pairs, passages, dropped + seen + Counter({"over limit": over}), steps)


def _without(source, pairs, corpus, protected, where):
    """Pairs and passages that do not occur `where`; the pairs dropped, by reason; negatives and passages that went."""
    kept, seen, negatives = drop_protected(pairs, source.kind, protected)
    left = {i: text for i, text in corpus.items() if not protected.owner(text)}
    return kept, left, seen, Counter({f"negatives that occur in {where}": negatives,
                                      f"passages that occur in {where}": len(corpus) - len(left)})


def read_pairs(source: Source, at: Located, split: str, seed: int) -> tuple[list, dict, Counter, Counter]:
    """Reads one split of a source and converts it.

    Returns:
        `tuple`: pairs, `{id: text}` of the passages (retrieval kinds only), drops by reason, counts of the steps.

    Raises:
        [`RecipeError`]: a column is missing, an id has no passage, or no pair is left.
    """
    rows, left_out = read_rows(source, at, split)
    total, passages = len(rows), {}
    if source.queries:
        rows = look_up(source, at, rows, "query", lookup_table(f"{source.key}: queries", at, source.queries))
    if source.corpus:
        passages = lookup_table(f"{source.key}: corpus", at, source.corpus)
        rows = look_up(source, at, rows, "positive", passages)
    left_out += Counter({"id without a text": total - len(rows)})
    pairs, dropped, steps = convert(source, rows, seed)
    dropped, steps = dropped + left_out, steps + Counter(rows=left_out.total())
    if not pairs:
        raise source.error(f"no pair is left of the {total} rows of '{at.reference}', split '{split}' (dropped: "
                           f"{dict(dropped)}); mend the data or choose another split.")
    if not KINDS[source.kind].scored:
        return pairs, {}, dropped, steps
    corpus = {text_id(text): text for text in passages.values() if text}
    corpus |= {text_id(text): text for p in pairs for text in (p["positive"], *p["negatives"])}
    return pairs, corpus, dropped, steps


def sample(pairs: list[dict], limit: int | None, seed: int, by: str = "query_id") -> tuple[list[dict], int]:
    """The pairs of at most `limit` different queries (or passages, `by="positive_id"`), and how many pairs stayed out.

    Which ones depends on their text and the seed only.
    """
    if limit is None:
        return pairs, 0
    chosen = set(by_hash({p[by] for p in pairs}, seed)[:limit])
    kept = [p for p in pairs if p[by] in chosen]
    return kept, len(pairs) - len(kept)


def sample_corpus(corpus: dict[str, str], pairs: list[dict], limit: int | None, seed: int) -> list[dict[str, Any]]:
    """The pairs' own passages and, up to `limit` in all, others; in the order of their ids."""
    own = {p["positive_id"] for p in pairs} | {text_id(n) for p in pairs for n in p["negatives"]}
    others = set(corpus) - own
    if limit is not None:
        others = by_hash(others, seed)[:max(limit - len(own), 0)]
    return [{"id": i, "text": corpus[i]} for i in sorted(own.union(others)) if i in corpus]
