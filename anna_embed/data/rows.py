"""A dataset's rows under our column names: columns picked, joined and exploded, ids replaced by texts."""

from collections import Counter
from datetime import date, time
from typing import Any

from datasets import ClassLabel, Dataset, LargeList, List

from anna_embed.data.load import check_utf_8, load_rows
from anna_embed.data.source import Source
from anna_embed.data.texts import clean, join
from anna_embed.located import Located
from anna_embed.parsing import RecipeError

LISTS = (List, LargeList)
NAMED = ("label", "text", "query", "positive", "negatives")  # of a class the name is read, not the number


def read_rows(source: Source, at: Located, split: str) -> tuple[list[dict[str, Any]], Counter]:
    """One split of a source under our column names, and how many rows the source leaves out, by reason.

    Raises:
        [`RecipeError`]: a column is missing, or holds what its kind cannot use.
    """
    rows = load_rows(source.key, at, source.config, split, source.files_of(split))
    rows, left_out = _leave_out(source, at, rows)
    may_be_lists = {"positive", "negatives"} | ({"text", "label"} if "text" in source.columns else set())
    found = {}
    for ours, theirs in source.columns.items():
        values = picked(f"{source.key}: columns", at, rows, theirs)
        _check_plain(f"{source.key}: columns: {ours}", theirs, values, ours in may_be_lists)
        if ours in NAMED and isinstance(theirs, str):
            feature = _feature(rows.features, theirs)
            by_number = ours == "label" and not source.labels_are(_class_names(feature))
            values = [_named(feature, value, source.renames if by_number else None) for value in values]
        if ours == "label" and split == source.split and not at.reference == source.test_path != source.path:
            _check_labels(source, at, values)
        found[ours] = values
    table = [dict(zip(found, values)) for values in zip(*found.values())]
    return (_explode(source, table) if "text" in found else table), left_out


def _leave_out(source, at, rows):
    left_out = Counter()
    for column, unwanted in source.leave_out.items():
        values = [str(value) for value in picked(f"{source.key}: leave_out", at, rows, column)]
        for value in unwanted:
            if value not in values:
                raise source.error(f"leave_out: {column}: no row of '{at.reference}' has {value!r}; name values that "
                                   f"it has: {', '.join(sorted(set(values))[:20])}.")
        places = [place for place, value in enumerate(values) if value not in unwanted]
        left_out += Counter(f"{column} is {value}" for value in values if value in unwanted)
        rows = rows.select(places)
    return rows, left_out


def picked(key: str, at: Located, rows: Dataset, theirs: str | list[str]) -> list[Any]:
    """The values of a column, or of several joined."""
    if isinstance(theirs, list):
        columns = [picked(key, at, rows, name) for name in theirs]
        for name, values in zip(theirs, columns):
            _check_plain(key, name, values, False)
        return [join(values) for values in zip(*columns)]
    name, *inside = [theirs] if theirs in rows.column_names else theirs.split(".")
    if name not in rows.column_names:
        raise RecipeError(f"{key}: '{at.reference}' has no column '{name}'; name one that it has: "
                          f"{', '.join(rows.column_names)}.")
    check_utf_8(key, at, rows, name)
    values = rows[name][:]
    for step in inside:
        values = [_inside(f"{key}: {theirs}", value, step) for value in values]
    return values


def _inside(key, value, step):
    if value is None:
        return None
    if isinstance(value, dict) and step in value:
        return value[step]
    if isinstance(value, list) and step.isdigit():
        return value[int(step)] if int(step) < len(value) else None
    if isinstance(value, list):
        return [_inside(key, v, step) for v in value]
    raise RecipeError(f"{key}: there is no '{step}' in {str(value)[:80]!r}; write a column, or the way into a nested "
                      "one, for example answers.text or tags.0.")


def _check_plain(key, theirs, values, may_be_lists):
    for value in values:
        for part in value if may_be_lists and isinstance(value, list) else [value]:
            if isinstance(part, (list, dict)):
                raise RecipeError(f"{key}: {theirs!r} holds {str(value)[:80]!r}, no plain value; name a part of it, "
                                  "for example answers.text or tags.0.")
            if isinstance(part, bytes):
                raise RecipeError(f"{key}: {theirs!r} holds the bytes {part[:40]!r}, no text; store the column as "
                                  "strings (in Spark: spark.sql.parquet.binaryAsString).")
            if isinstance(part, (date, time)):  # a datetime is a date
                raise RecipeError(f"{key}: {theirs!r} holds the time {str(part)!r}, and how it was written is lost "
                                  "(`datasets` takes text like dates in JSON files for times); store the column as "
                                  "text, in a CSV or parquet file.")


def _check_labels(source, at, values):
    """A label that is not there is a slip, unless all that are there have a name: then these rows are a part of more.
    YAML reads yes, no, on and off as true and false."""
    there = {part for value in values for part in (value if isinstance(value, list) else [value]) if clean(part)}
    texts = set(map(clean, there)) | {clean(label) for labels in source.leave_out.values() for label in labels}
    lost = [label for label in source.labels if label not in there and clean(label) not in texts]
    if lost and not all(map(source.renames, there)):
        some = ", ".join(sorted(map(repr, there))[:10])
        raise source.error(f"labels: none of {', '.join(map(repr, lost))} is a label in '{at.reference}', "
                           f"which has {some}; write them as they are there (yes, no, on and off in quotation marks).")


def _feature(features, theirs):
    """The type of what a column, or the way into a nested one, leads to; None if it is not known."""
    name, *inside = [theirs] if theirs in features else theirs.split(".")
    feature = features.get(name)
    for step in inside:
        feature = _inner(feature, step)
    return feature


def _inner(feature, step):
    """The type behind one step, as `_inside` takes it in values."""
    if isinstance(feature, LISTS):
        return feature.feature if step.isdigit() else List(_inner(feature.feature, step))
    return feature.get(step) if isinstance(feature, dict) else None


def _class_names(feature):
    while isinstance(feature, LISTS):
        feature = feature.feature
    return feature.names if isinstance(feature, ClassLabel) else []


def _named(feature, value, renames=None):
    """The name of a class instead of its number, also in lists; None for a number that is no class. A number that
    `renames` knows stays."""
    if isinstance(value, list):
        return [_named(feature.feature if isinstance(feature, LISTS) else feature, part, renames) for part in value]
    if not isinstance(feature, ClassLabel) or (renames and renames(value)):
        return value
    return feature.names[value] if value is not None and 0 <= value < feature.num_classes else None


def _explode(source, table):
    """A row whose text and label are lists becomes a row for each of their items."""
    rows = []
    for row in table:
        text, label = row["text"], row["label"]
        if not isinstance(text, list) and not isinstance(label, list):
            rows.append(row)
        elif isinstance(text, list) and isinstance(label, list) and len(text) == len(label):
            rows += [{"text": t, "label": n} for t, n in zip(text, label)]
        else:
            raise source.error(f"columns: text and label hold {str(text)[:50]!r} and {str(label)[:50]!r}, neither "
                               "single values nor two lists of one length; name one item, for example labels.0.")
    return rows


class Ambiguous(str):
    """The last text of an id that several have."""


def lookup_table(key: str, at: Located, table: dict[str, Any]) -> dict[str, str]:
    """`{id: text}` of a corpus or query table given as `{config, split, id, text}`."""
    config, text = table.get("config"), table["text"]
    rows = load_rows(key, at, config, table.get("split", config or "train"))
    texts = picked(key, at, rows, text if isinstance(text, list) else [text])
    ids = picked(key, at, rows, table["id"])
    _check_plain(key, table["id"], ids, False)
    found = {}
    for name, text in zip(ids, texts):
        if name is not None and found.setdefault(str(name), text) != text:
            found[str(name)] = Ambiguous(text)
    return found


def look_up(source: Source, at: Located, rows: list[dict], ours: str, texts: dict[str, str]) -> list[dict[str, Any]]:
    """The rows with texts where they had ids; without those whose id is in no table, if the source says so.

    Raises:
        [`RecipeError`]: an id has no text, or several, and the source does not say to drop such rows.
    """
    found = []
    for row in rows:
        name = str(row[f"{ours}_id"])
        several = isinstance(texts.get(name), Ambiguous)
        if name in texts and not several:
            found.append({**row, ours: texts[name]})
        elif source.on_missing_id == "error":
            theirs, table = source.columns[f"{ours}_id"], "corpus" if ours == "positive" else "queries"
            raise source.error(f"columns: {theirs}: '{name}' in '{at.reference}' is the id of "
                               f"{'several texts' if several else 'nothing'} in its {table} table; mend the data, or "
                               "set on_missing_id: drop to leave such rows out.")
    return found
