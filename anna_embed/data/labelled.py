"""Texts with labels to pairs: classification, where the label's text is the positive, and clustering."""

import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import accumulate

from anna_embed.data.source import Source
from anna_embed.data.texts import by_hash, clean

NEGATIVES = 7  # as many as mined ones (bge-en-icl: up to 7 other labels)


def classification(source: Source, rows: list[dict], seed: int, made) -> Iterator[tuple[str, str, list[str]]]:
    """Text, its label, and other labels as negatives."""
    found = labelled(source, rows, made.dropped, made.steps)
    names = _several_names(source, found)
    made.steps["labels"] = len(names)
    for text, label in found.items():
        others = [n for n in names if n != label]
        yield text, label, random.Random(f"{seed}:{text}").sample(others, min(NEGATIVES, len(others)))


def clustering(source: Source, rows: list[dict], seed: int, made) -> Iterator[tuple[str, str, list[str], str]]:
    """Text, another text of its category, texts of other categories as negatives, and the category's name.

    Which ones depends on texts and seed only: within a category every text is once the positive of the text before it
    in the order of their hashes. Every text of another category is as likely a negative: were the category drawn
    first, the one text of a rare category would be a negative of thousands.
    """
    found = labelled(source, rows, made.dropped, made.steps)
    names = _several_names(source, found)
    made.steps["categories"] = len(names)
    texts = defaultdict(list)
    for text in by_hash(found, seed):
        texts[found[text]].append(text)
    ordered = [text for label in names for text in texts[label]]
    starts = accumulate((len(texts[label]) for label in names), initial=0)
    for label, start in zip(names, starts):
        own = texts[label]
        if len(own) == 1:
            made.dropped["category with a single text"] += 1
            continue
        for text, positive in zip(own, own[1:] + own[:1]):
            draw = random.Random(f"{seed}:{text}")
            # a place outside the own category: those from its start on move up by its size
            places = [draw.randrange(len(ordered) - len(own)) for _ in range(NEGATIVES)]
            yield text, positive, list(dict.fromkeys(ordered[k + len(own) * (k >= start)] for k in places)), label


def labelled(source: Source, rows: list[dict], dropped: Counter, steps: Counter) -> dict[str, str]:
    """Text to label, for the rows that have both; a text with two labels has none."""
    found, labels = [], defaultdict(set)
    for row in rows:
        steps["rows"] += 1
        text, label = clean(row["text"]), label_in_words(source, row["label"])
        if not text or not label:
            unmatched = text and source.label_of(row["label"])
            dropped["no match of label_pattern" if unmatched else "empty text or label"] += 1
            continue
        found.append((text, label))
        labels[text].add(label)
    kept = {}
    for text, label in found:
        if len(labels[text]) > 1:
            dropped["text with several labels"] += 1
        elif text in kept:
            dropped["repeated row"] += 1
        else:
            kept[text] = label
    return kept


def label_in_words(source: Source, value) -> str:
    """A label as the source's `labels` and `label_pattern` have it; the empty string for none."""
    name = source.label_of(value)
    if source.label_pattern:
        match = re.search(source.label_pattern, name)
        name = match.group().strip() if match else ""
    return name


def _several_names(source, found):
    names = sorted(set(found.values()))
    if len(names) == 1:
        raise source.error(f"columns: label: all rows have the label {names[0]!r}; a {source.kind} task needs two; "
                           "name another column, or leave the task out.")
    return names
