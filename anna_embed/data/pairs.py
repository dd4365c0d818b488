"""One task's pairs and passages, ready to be written."""

import hashlib
from collections import Counter
from typing import Any

from anna_embed.artifacts import Located
from anna_embed.data.convert import clean, convert, text_id
from anna_embed.data.load import load_rows, lookup_table, require_columns
from anna_embed.data.sources import Source
from anna_embed.kinds import KINDS
from anna_embed.parsing import RecipeError


def read_pairs(source: Source, at: Located, split: str, seed: int) -> tuple[list[dict], Counter, Counter, dict]:
    """Reads one split of a source and converts it.

    Returns:
        `tuple`: pairs, drops by reason, counts of the steps, and `{id: text}` of the passages (retrieval kinds only).

    Raises:
        [`RecipeError`]: a column is missing, an id has no passage, or no pair is left.
    """
    rows = load_rows(source.name, at, source.config, split)
    require_columns(source.name, at, rows, [source.columns[c] for c in source.needed])
    wanted = {ours: rows[theirs] for ours, theirs in source.columns.items() if theirs in rows.column_names}
    rows = [dict(zip(wanted, values)) for values in zip(*wanted.values())]
    lost, passages = Counter(), {}
    for column, table in (("query", source.queries), ("positive", source.corpus)):
        if table is not None:
            texts = lookup_table(source.name, at, table)
            rows = _look_up(source, rows, column, texts, lost)
            passages = texts if column == "positive" else passages
    pairs, dropped, steps = convert(source, rows, seed)
    if not pairs:
        raise RecipeError(f"tasks: {source.name}: no pair is left of {len(rows)} rows of '{at.reference}' "
                          f"(dropped: {dict(dropped + lost)}); mend the data or choose another split.")
    corpus = {}
    if KINDS[source.kind].scored:
        texts = [clean(t) for t in passages.values()] + [t for p in pairs for t in (p["positive"], *p["negatives"])]
        corpus = {text_id(t): t for t in texts if t}
    return pairs, dropped + lost, steps, corpus


def _look_up(source, rows, column, texts, lost):
    """Puts texts where the rows have ids."""
    found = []
    for row in rows:
        identifier = str(row[f"{column}_id"])
        if identifier in texts:
            found.append({**row, column: texts[identifier]})
        elif source.on_missing_id == "error":
            raise RecipeError(f"tasks: {source.name}: {source.columns[f'{column}_id']} '{identifier}' is the id of no "
                              f"{'passage' if column == 'positive' else 'query'}; mend the data, or set "
                              "on_missing_id: drop to leave such rows out.")
        else:
            lost[f"{column} id without a text"] += 1
    return found


def sample(pairs: list[dict], limit: int | None, seed: int, by: str = "query_id") -> tuple[list[dict], int]:
    """The pairs of at most `limit` different queries (or passages, `by="positive_id"`), and how many pairs stayed out.

    Which ones depends on their text and the seed only.
    """
    chosen = set(_lowest({p[by] for p in pairs}, limit, seed))
    kept = [p for p in pairs if p[by] in chosen]
    return kept, len(pairs) - len(kept)


def sample_corpus(corpus: dict[str, str], pairs: list[dict], limit: int | None, seed: int) -> list[dict[str, Any]]:
    """The pairs' own passages and, up to `limit` in all, others; in the order of their ids."""
    own = {p["positive_id"] for p in pairs} | {text_id(n) for p in pairs for n in p["negatives"]}
    others = _lowest(set(corpus) - own, None if limit is None else max(limit - len(own), 0), seed)
    return [{"id": i, "text": corpus[i]} for i in sorted(own.union(others)) if i in corpus]


def _lowest(names, limit, seed):
    ordered = sorted(names, key=lambda name: hashlib.sha1(f"{seed}:{name}".encode()).digest())
    return ordered if limit is None else ordered[:limit]


