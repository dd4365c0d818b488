"""Rows of a source to pairs: pure functions, one per kind. Nothing is invented, nothing is lost unexplained."""

import math
from collections import Counter, defaultdict
from typing import Any, NamedTuple

from anna_embed.data.labelled import classification, clustering, label_in_words
from anna_embed.data.source import Source
from anna_embed.data.texts import clean, text_id

NLI = ("entailment", "neutral", "contradiction")
UNLABELLED = ("", "-", "-1")  # how SNLI writes that its annotators did not agree
AS_NEGATIVES = "contradictions kept as hard negatives"
FEW = 20  # pairs, of which none above 1 says nothing of the scale


class Converted(NamedTuple):
    """Pairs, and what became of every row: `rows = pairs + dropped + contradictions kept as hard negatives`.

    A row with several positives counts once for each of them.
    """

    pairs: list[dict[str, Any]]
    dropped: Counter  # by reason
    steps: Counter  # counts along the way; for NLI, the arrows of the report's Figure 1


def convert(source: Source, rows: list[dict], seed: int) -> Converted:
    """Pairs of one source.

    Args:
        source (`Source`): Says kind and columns.
        rows (`list[dict]`): Under our column names (`load.read_rows`).
        seed (`int`): Draws the negatives of classification and clustering.
    """
    by_kind = {"retrieval": _ready, "reranking": _ready, "nli": _nli, "sts": _sts, "classification": _classification,
               "clustering": _clustering}
    made = Converted([], Counter(), Counter(rows=0))
    (_ready if source.is_ready else by_kind[source.kind])(source, rows, seed, made)
    kept = _without_repeats(made)
    made.steps["pairs"] = len(kept)
    assert made.steps["rows"] == len(kept) + made.dropped.total() + made.steps[AS_NEGATIVES], (source.name, made.steps)
    return Converted(kept, +made.dropped, +made.steps)  # without reasons that never occurred


def _add(made, source, query, positive, negatives=(), label=None, label_score=None):
    made.pairs.append({
        "query_id": text_id(query), "query": query, "positive_id": text_id(positive), "positive": positive,
        "negatives": list(negatives), "label": label, "label_score": label_score, "task": source.name})


def _ready(source, rows, seed, made):
    """Rows that are pairs already; several positives become a row each."""
    found, positives_of = [], defaultdict(set)
    for row in rows:
        query, label = clean(row["query"]), label_in_words(source, row.get("label")) or None
        for positive in [clean(p) for p in _several(row["positive"])] or [""]:
            made.steps["rows"] += 1
            if "relevance" in row and not _relevance(source, row["relevance"]) > 0:
                made.dropped["judged not relevant"] += 1
            elif not query or not positive:
                made.dropped["empty query" if not query else "empty positive"] += 1
            elif positive == query:
                made.dropped["positive equals query"] += 1
            else:
                found.append((query, positive, row, label))
                positives_of[query].add(positive)
    for query, positive, row, label in found:
        negatives = list(dict.fromkeys(clean(n) for n in _several(row.get("negatives"))))
        good = [n for n in negatives if n and n != query and n not in positives_of[query]]
        made.steps["negatives left out: empty, the query or a positive of it"] += len(negatives) - len(good)
        _add(made, source, query, positive, good, label or (positive if source.kind == "classification" else None))


def _relevance(source, value):
    number = 0.0 if value is None or value == "" else _number(value)
    if math.isnan(number):
        raise source.error(f"columns: relevance: {value!r} is no number; mend the row, or leave relevance out.")
    return number


def _several(value):
    return value if isinstance(value, list) else [] if value is None else [value]


def _nli(source, rows, seed, made):
    """NLI to STS (report, Figure 1), by premise: entailments are positives, contradictions hard negatives."""
    groups = defaultdict(lambda: {"entailment": {}, "contradiction": {}})  # dictionaries as ordered sets
    for row in rows:
        premise, hypothesis = clean(row["premise"]), clean(row["hypothesis"])
        label = source.label_of(row["label"])
        if label not in NLI and label not in UNLABELLED:
            raise source.error(_unknown(source, row["label"], label))
        made.steps["rows"] += 1
        made.steps[f"labelled {label}" if label in NLI else "not labelled"] += 1
        if not premise or not hypothesis:
            made.dropped["empty premise or hypothesis"] += 1
        elif label not in groups[premise]:
            made.dropped["neutral" if label == "neutral" else "not labelled"] += 1
        elif premise == hypothesis:
            made.dropped["hypothesis equals premise"] += 1
        elif hypothesis in groups[premise][label]:
            made.dropped["repeated row"] += 1
        else:
            groups[premise][label][hypothesis] = None
    for premise, found in groups.items():
        good = [h for h in found["entailment"] if h not in found["contradiction"]]
        bad = [h for h in found["contradiction"] if h not in found["entailment"]]
        made.dropped["labelled both ways"] += sum(map(len, found.values())) - len(good) - len(bad)
        if not good or not bad:
            made.dropped["premise without " + ("a contradiction" if good else "an entailment")] += len(good) + len(bad)
            continue
        made.steps["premises kept"] += 1
        made.steps[AS_NEGATIVES] += len(bad)
        for hypothesis in good:
            _add(made, source, premise, hypothesis, bad, label_score=1.0)


def _unknown(source, value, label):
    if source.renames(value):
        return f"labels: {value!r} becomes {label!r}, which is none of {', '.join(NLI)}; write one of these."
    likely = label.lower() if label.lower() in NLI else "neutral"
    return (f"columns: label: {value!r} is none of {', '.join(NLI)}; map it, for example labels: "
            f"{{{value!r}: {likely}}}.")


def _sts(source, rows, seed, made):
    """Graded pairs; scores are mapped to 0..1. A pair with two different scores has none."""
    low, high = source.score_range
    found, scores = [], defaultdict(set)
    for number, row in enumerate(rows):
        pair = clean(row["sentence1"]), clean(row["sentence2"])
        made.steps["rows"] += 1
        if not all(pair):
            made.dropped["empty sentence"] += 1
            continue
        score = _number(row["score"])
        if not low <= score <= high:
            raise source.error(f"columns: score: {row['score']!r} in row {number} is no number within score_range "
                               f"{source.score_range}; mend the row, or set score_range: [lowest, highest].")
        found.append((pair, score))
        scores[pair].add(score)
    top = max((score for _, score in found), default=high)
    if len(found) >= FEW and top <= 1 < high:
        raise source.error(f"score_range: no score of {len(found)} pairs is above {top:g}, and the range is "
                           f"{source.score_range}; write score_range: [0, 1] if these are the scores' ends.")
    for pair, score in found:
        if len(scores[pair]) > 1:
            made.dropped["pair with several scores"] += 1
        else:
            _add(made, source, *pair, label_score=(score - low) / (high - low))


def _number(value):
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _classification(source, rows, seed, made):
    for text, label, negatives in classification(source, rows, seed, made):
        _add(made, source, text, label, negatives, label=label)


def _clustering(source, rows, seed, made):
    for text, positive, negatives, label in clustering(source, rows, seed, made):
        _add(made, source, text, positive, negatives, label=label)


def _without_repeats(made):
    """Of equal (query, positive) the first stays; its negatives are those of all."""
    found = {}
    for pair in made.pairs:
        first = found.setdefault((pair["query"], pair["positive"]), pair)
        if first is not pair:
            made.dropped["repeated (query, positive)"] += 1
            first["negatives"] = list(dict.fromkeys(first["negatives"] + pair["negatives"]))
    return list(found.values())
