"""Whether a copy of a task's data is the one that mteb describes: a shortened or changed one gives other scores."""

import io
from collections.abc import Iterator
from contextlib import redirect_stderr
from typing import Any

SIZES = ("num_samples", "num_documents", "num_queries")  # fewer of these: something is missing
# Follow from others, or are counted in another way today than when mteb's files were written (SICK-R has 9,842 pairs,
# and 9,777 if their order does not matter); labels have other names in other copies.
LEFT_OUT = ("labels", "hf_subset_descriptive_stats", "unique_pairs")
SHOWN = 3  # differences in a note; the record has them all
UNCHECKED = "mteb states no counts of this data, so the copy was not checked"


def statistics(task) -> dict[tuple[str, str], dict[str, Any]]:
    """What mteb itself counts in the loaded data, by split and subset; the split that classifiers learn from as well.

    Args:
        task (`mteb.AbsTask`): With its data loaded.
    """
    splits = dict.fromkeys([*task.eval_splits, *([task.train_split] if learns(task) else [])])
    subsets = task.hf_subsets if task.metadata.is_multilingual else [None]
    with redirect_stderr(io.StringIO()):  # its progress bars
        count = task._calculate_descriptive_statistics_from_split
        return {(split, subset or "default"): count(split, hf_subset=subset) for split in splits for subset in subsets}


def learns(task) -> bool:
    """Whether it trains classifiers on a split of its own."""
    from mteb.abstasks import AbsTaskClassification

    return isinstance(task, AbsTaskClassification)


def differences(task, here: dict[tuple[str, str], dict[str, Any]]) -> list[dict[str, Any]]:
    """Every count that is not mteb's: `split`, `count`, the number `here` and that of `mteb`; sizes first.

    Splits that mteb does not describe are not among them.
    """
    found = []
    for (split, subset), counted in here.items():
        ours = dict(_numbers(counted))
        found += [{"split": split, "count": name, "here": ours.get(name), "mteb": value}
                  for name, value in _numbers(described(task, split, subset)) if not _same(ours.get(name), value)]
    return sorted(found, key=lambda row: row["count"] not in SIZES)


def described(task, split: str, subset: str) -> dict[str, Any]:
    """mteb's own statistics of a split; empty where it has none."""
    of_split = (task.metadata.descriptive_stats or {}).get(split, {})
    return of_split.get("hf_subset_descriptive_stats", {subset: of_split}).get(subset, {})


def _numbers(counted: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Counts by name."""
    for name, value in counted.items():
        if name in LEFT_OUT:
            continue
        if isinstance(value, dict):
            yield from _numbers(value, f"{prefix}{name.removesuffix('_statistics')}: ")
        elif isinstance(value, (int, float)) and not name.startswith("average"):
            yield prefix + name, value


def _same(ours, published):
    return ours is not None and abs(ours - published) <= 1e-6 * max(1, abs(published))


def note(differing: list[dict[str, Any]]) -> str | None:
    """One sentence for the results; None for a copy that is mteb's."""
    if not differing:
        return None
    fewer = any(row["count"] in SIZES and row["here"] is not None and row["here"] < row["mteb"] for row in differing)
    said = [f"{row['split']} {row['count']} {_number(row['here'])} instead of {_number(row['mteb'])}"
            for row in differing[:SHOWN]]
    more = f" and {len(differing) - SHOWN} more" if len(differing) > SHOWN else ""
    return f"{'a part of' if fewer else 'not quite'} mteb's data: {'; '.join(said)}{more}"


def _number(value):
    return "none" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"
