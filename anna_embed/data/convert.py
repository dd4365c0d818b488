"""Rows of a source to pairs: pure functions, one per kind. Nothing is invented, nothing is lost unexplained."""

import hashlib
import math
import random
from collections import Counter, defaultdict
from typing import Any

from anna_embed.data.sources import Source
from anna_embed.parsing import RecipeError

MAX_LABEL_NEGATIVES = 7  # as many as mined ones (bge-en-icl: up to 7 other labels)


def text_id(text: str) -> str:
    """A name for a text that does not depend on its place in a file."""
    return hashlib.sha1(text.encode()).hexdigest()[:16]


def clean(value: Any) -> str:
    """A text without white space around it; the empty string for what is no text."""
    return value.strip() if isinstance(value, str) else "" if value is None else str(value).strip()


def pair(task: str, query: str, positive: str, negatives=(), label=None, label_score=None) -> dict[str, Any]:
    """One row of the pairs artifact (`schema.PAIRS`)."""
    return {"query_id": text_id(query), "query": query, "positive_id": text_id(positive), "positive": positive,
            "negatives": list(negatives), "label": label, "label_score": label_score, "task": task}


def convert(source: Source, rows: list[dict], seed: int) -> tuple[list[dict], Counter, Counter]:
    """Pairs of one source.

    Args:
        source (`Source`): Says kind and columns.
        rows (`list[dict]`): Under our column names (`sources.COLUMNS`).
        seed (`int`): Draws the negatives of classification and clustering.

    Returns:
        `tuple[list[dict], Counter, Counter]`: pairs; rows dropped by reason; counts of every further step (for NLI,
        the arrows of the report's Figure 1).
    """
    by_kind = {"retrieval": _retrieval, "reranking": _retrieval, "nli": _nli, "sts": _sts,
               "classification": _classification, "clustering": _clustering}
    dropped, steps = Counter(), Counter({"rows": len(rows)})
    pairs = _without_repeats(by_kind[source.kind](source, rows, seed, dropped, steps), dropped)
    steps["pairs"] = len(pairs)
    return pairs, dropped, steps


def _retrieval(source, rows, seed, dropped, steps):
    """Several positives become a row each."""
    pairs = []
    for row in rows:
        query, positives = clean(row["query"]), _texts(row["positive"])
        negatives = [t for t in map(clean, _texts(row.get("negatives"))) if t]
        steps["positives"] += len(positives)
        if not query:
            dropped["empty query"] += len(positives)
            continue
        for positive in map(clean, positives):
            if not positive:
                dropped["empty positive"] += 1
            elif positive == query:
                dropped["positive equals query"] += 1
            else:
                pairs.append(pair(source.name, query, positive, [n for n in negatives if n not in (positive, query)]))
    return pairs


def _texts(value):
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _nli(source, rows, seed, dropped, steps):
    """NLI to STS (report, Figure 1), by premise: entailments are positives, contradictions hard negatives."""
    groups = defaultdict(lambda: defaultdict(list))
    for row in rows:
        premise, hypothesis = clean(row["premise"]), clean(row["hypothesis"])
        label = source.labels.get(row["label"], row["label"])
        steps[str(label)] += 1
        if not premise or not hypothesis:
            dropped["empty premise or hypothesis"] += 1
        elif label == "neutral":
            dropped["neutral"] += 1
        elif label not in ("entailment", "contradiction"):
            dropped[f"label {label!r} is none of entailment, neutral, contradiction"] += 1
        elif premise == hypothesis:
            dropped["hypothesis equals premise"] += 1
        elif hypothesis not in groups[premise][label]:
            groups[premise][label].append(hypothesis)
        else:
            dropped["repeated row"] += 1
    pairs = []
    for premise, by_label in groups.items():
        both = set(by_label["entailment"]) & set(by_label["contradiction"])
        good, bad = ([h for h in by_label[k] if h not in both] for k in ("entailment", "contradiction"))
        dropped["labelled both ways"] += 2 * len(both)
        if not good or not bad:
            dropped["premise without " + ("an entailment" if not good else "a contradiction")] += len(good) + len(bad)
            continue
        steps["premises kept"] += 1
        steps["contradictions kept as hard negatives"] += len(bad)
        pairs += [pair(source.name, premise, h, bad, label_score=1.0) for h in good]
    dropped += Counter()  # forget reasons that never occurred
    return pairs


def _sts(source, rows, seed, dropped, steps):
    """Graded pairs; scores are mapped to 0..1."""
    low, high = source.score_range
    pairs = []
    for i, row in enumerate(rows):
        left, right = clean(row["sentence1"]), clean(row["sentence2"])
        try:
            score = float(row["score"])
        except (TypeError, ValueError):
            score = math.nan
        if not low <= score <= high:
            raise RecipeError(f"tasks: {source.name}: score {row['score']!r} of row {i} lies outside score_range "
                              f"{source.score_range}; mend the row, or set score_range: [lowest, highest].")
        if not left or not right:
            dropped["empty sentence"] += 1
        else:
            pairs.append(pair(source.name, left, right, label_score=(score - low) / (high - low)))
    return pairs


def _labelled(source, rows, dropped):
    """`(text, label)` of the rows that have both; a text with two labels has none."""
    labels = defaultdict(set)
    found = []
    for row in rows:
        text, label = clean(row["text"]), clean(source.labels.get(row["label"], row["label"]))
        if not text or not label:
            dropped["empty text or label"] += 1
            continue
        labels[text].add(label)
        found.append((text, label))
    kept = [(t, name) for t, name in found if len(labels[t]) == 1]
    if len(kept) < len(found):
        dropped["text with several labels"] += len(found) - len(kept)
    return kept


def _classification(source, rows, seed, dropped, steps):
    """The label's text is the positive, other labels' texts are the negatives."""
    found = _labelled(source, rows, dropped)
    names = sorted({label for _, label in found})
    steps["labels"] = len(names)
    if found and len(names) < 2:
        raise RecipeError(f"tasks: {source.name}: all rows have the label {names[0]!r}; a task needs two or more labels.")
    pairs = []
    for text, label in found:
        others = [n for n in names if n != label]
        drawn = random.Random(f"{seed}:{text}").sample(others, min(MAX_LABEL_NEGATIVES, len(others)))
        pairs.append(pair(source.name, text, label, drawn, label=label))
    return pairs


def _clustering(source, rows, seed, dropped, steps):
    """Another text of the category is the positive, texts of other categories are the negatives."""
    categories = defaultdict(list)
    for text, label in dict.fromkeys(_labelled(source, rows, dropped)):
        categories[label].append(text)
    steps["categories"] = len(categories)
    names = sorted(categories)
    if categories and len(names) < 2:
        raise RecipeError(f"tasks: {source.name}: all rows have the category {names[0]!r}; a task needs two or more.")
    pairs = []
    for label in names:
        texts = sorted(categories[label], key=lambda t: hashlib.sha1(f"{seed}:{t}".encode()).digest())
        if len(texts) < 2:
            dropped["category with a single text"] += 1
            continue
        for text, positive in zip(texts, texts[1:] + texts[:1]):
            draw = random.Random(f"{seed}:{text}")
            others = draw.choices([n for n in names if n != label], k=MAX_LABEL_NEGATIVES)
            negatives = dict.fromkeys(draw.choice(sorted(categories[n])) for n in others)
            pairs.append(pair(source.name, text, positive, negatives, label=label))
    return pairs


def _without_repeats(pairs, dropped):
    """Of equal (query, positive) the first stays; its negatives are those of all."""
    found = {}
    for p in pairs:
        first = found.setdefault((p["query"], p["positive"]), p)
        if first is not p:
            dropped["repeated (query, positive)"] += 1
            first["negatives"] = list(dict.fromkeys(first["negatives"] + p["negatives"]))
    return list(found.values())
