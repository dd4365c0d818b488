"""Parquet in Hub layout: `<config>/<split>-00000-of-00001.parquet`, one schema per config."""

import errno
import math
import re
from glob import escape
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, Features, concatenate_datasets, disable_progress_bars, load_dataset
from datasets.exceptions import DatasetGenerationError

from anna_embed.artifacts import read_manifest
from anna_embed.located import Located, differ
from anna_embed.parsing import RecipeError, in_short
from anna_embed.schema import NULLABLE

disable_progress_bars()  # the stages show their own, one per task


SHARD_BYTES = 500 * 10**6  # in memory; the Hub's viewer and clients like files of this size
PIECE = 10_000  # rows made into columns at once: a column of strings holds at most 2 GB in one piece


def from_rows(rows: list[dict], features: Features) -> Dataset:
    """A dataset of rows, with the columns that `features` names and no others."""
    pieces = [rows[first: first + PIECE] for first in range(0, max(1, len(rows)), PIECE)]
    return concatenate_datasets([
        Dataset.from_dict({column: [row[column] for row in piece] for column in features}, features=features)
        for piece in pieces])


def write_split(folder: Path, config: str, split: str, rows: list[dict] | Dataset, features: Features) -> int:
    """Writes one split of one config and returns its number of rows; a file appears whole or not at all."""
    table = rows if isinstance(rows, Dataset) else from_rows(rows, features)
    (folder / config).mkdir(parents=True, exist_ok=True)
    shards = max(1, math.ceil(table.data.nbytes / SHARD_BYTES))
    for number in range(shards):
        path = folder / config / f"{split}-{number:05d}-of-{shards:05d}.parquet"
        partial = path.with_suffix(".tmp")
        table.shard(shards, number, contiguous=True).to_parquet(str(partial))
        partial.rename(path)
    return len(rows)


def columns_of(features: Features) -> dict[str, str]:
    """Column names and types in words, for the card."""
    def name(feature):
        return f"list of {name(feature.feature)}" if type(feature).__name__ == "List" else feature.dtype
    return {column: name(feature) for column, feature in features.items()}


def data_files(rows: dict[str, dict[str, int]]) -> dict[str, dict[str, str]]:
    """The card's `configs:`, from the row counts of the manifest."""
    return {config: {split: f"{config}/{split}-*.parquet" for split in splits} for config, splits in rows.items()}


def read_split(key: str, folder: str, config: str, split: str, features: Features) -> Dataset:
    """One split of an artifact, checked against its features.

    Raises:
        [`RecipeError`]: the artifact has no such config, or not all of it, or other columns, or a null or an empty
            text where no stage writes one.
    """
    files = sorted(str(f) for f in Path(folder, config).glob(f"{split}-*.parquet"))
    if not files:
        raise RecipeError(f"{key}: '{folder}' has no rows of task '{config}', split '{split}'; name an artifact that "
                          "has them.")
    content = read_manifest(folder).get("content")  # `datasets` knows files by their path and time only
    cache = content and f"{datasets.config.HF_DATASETS_CACHE}/{content[:32]}"
    lost = {int(of) for file in files for of in re.findall(r"-\d+-of-(\d+)", Path(file).name)} - {len(files)}
    if lost:
        raise RecipeError(f"{key}: of '{config}', split '{split}', '{folder}' has {len(files)} file(s), and by their "
                          f"names there are {max(lost)}; fetch them all, or run its stage again.")
    rows = _open(f"{key}: cannot read '{config}', split '{split}', of '{folder}'", files, cache)
    missing = [c for c in features if c not in rows.column_names]
    if missing:
        raise RecipeError(f"{key}: '{folder}' lacks the column '{missing[0]}' in '{config}'; it has "
                          f"{', '.join(rows.column_names)}. Make it with the stage before this one.")
    rows = rows.select_columns(list(features))
    try:
        rows = rows if rows.features == features else rows.cast(features)  # a cast copies all of it to disk
    except (ValueError, TypeError) as error:
        raise RecipeError(f"{key}: a column of '{config}' in '{folder}' is of another type "
                          f"({in_short(error)}); make it with the stage before this one.") from None
    for name in (name for name in features if name not in NULLABLE and not _is_whole(rows.data.column(name))):
        row = next(number for number, value in enumerate(rows.data.column(name)) if _lacks(value.as_py()))
        raise RecipeError(f"{key}: row {row} of '{config}', split '{split}', in '{folder}' has a null or an empty "
                          f"text in the column '{name}'; leave such rows out, or make it with the stage before this "
                          "one.")
    return rows


def _is_whole(column):
    """Whether there is no null and no empty text in a column, or in its lists; no text is read for that."""
    values = pc.list_flatten(column) if pa.types.is_list(column.type) else column
    empty = pa.types.is_string(values.type) and pc.min(pc.binary_length(values)).as_py() == 0
    return not column.null_count and not values.null_count and not empty


def _lacks(value):
    return any(map(_lacks, value)) if isinstance(value, list) else value is None or value == ""


def _open(trouble, files, cache):
    try:
        return load_dataset("parquet", data_files=[escape(file) for file in files], split="train", cache_dir=cache)
    except (ValueError, DatasetGenerationError) as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.ENOSPC:
            raise error.__cause__ from None
        raise RecipeError(f"{trouble} ({in_short(error.__cause__ or error)}); fetch it again, or run its stage "
                          "again.") from None


def check_made_from(key: str, artifact: Located, parent_key: str, parent: Located) -> None:
    """Raises [`RecipeError`] if the manifest of an artifact says that it was made from another parent than this one.

    A folder's content and a commit of the Hub cannot be compared: nothing is said then.
    """
    made_from = read_manifest(artifact.path).get("parents", {}).get(parent_key, {}).get("digest")
    if made_from and differ(made_from, parent.digest):
        raise RecipeError(f"{key}: '{artifact.reference}' was made from other {parent_key} than "
                          f"'{parent.reference}'; run the stage that makes it again.")


def tasks_of(key: str, folder: str) -> dict[str, dict]:
    """The tasks an artifact holds, from its manifest.

    Raises:
        [`RecipeError`]: the folder has no manifest of ours.
    """
    tasks = read_manifest(folder).get("tasks")
    if not tasks:
        raise RecipeError(f"{key}: '{folder}' has no manifest.json that names tasks; give an artifact made by a "
                          "stage.")
    return tasks
