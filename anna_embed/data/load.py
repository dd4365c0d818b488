"""Reading a split of a dataset from a file, a folder, a mirror or the Hub."""

import errno
import gzip
import json
import re
from fnmatch import fnmatch
from glob import escape
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, load_dataset, load_dataset_builder
from datasets.exceptions import DatasetGenerationError, DatasetNotFoundError, SplitsVerificationError
from datasets.packaged_modules.csv.csv import CsvConfig
from huggingface_hub import HfApi
from huggingface_hub.errors import LocalEntryNotFoundError
from huggingface_hub.utils import httpx

from anna_embed.data.locate import builder_of
from anna_embed.digests import visible_files
from anna_embed.located import Located
from anna_embed.parsing import RecipeError, in_short

# Of a CSV file nothing but an empty field is empty: "None", "NA" and "null" are words.
WORDS = {"keep_default_na": False, "na_values": [""]}


def load_rows(key: str, at: Located, config: str | None, split: str, files: list[str] = ()) -> Dataset:
    """One split of one config, or the data files that the patterns `files` name.

    Args:
        key (`str`): What the error message begins with.

    Raises:
        [`RecipeError`]: a file is no valid JSONL, CSV or parquet, or there is no such config, split or file.
    """
    what, remedy = f"config {config!r}, split {split!r} of '{at.reference}'", "name a config and split of it"
    if files or Path(at.path).is_file():
        what, remedy = f"'{at.reference}'", "mend the file"
    try:
        if files or Path(at.path).is_file():
            return _load_files(key, at, list(files), split)
        return _load_split(key, at, config, split)
    except RecipeError:
        raise
    except SplitsVerificationError as error:
        raise RecipeError(f"{key}: '{at.reference}' has other splits or numbers of rows than its card says under "
                          f"dataset_info ({in_short(error)}); fetch all its files, or mend the card.") from None
    except (httpx.HTTPError, LocalEntryNotFoundError, ConnectionError) as error:
        raise RecipeError(f"{key}: the Hub did not give {what} ({in_short(error)}); run the same command again, or "
                          "give --mirror.") from None
    except (ValueError, RuntimeError, FileNotFoundError, StopIteration, EOFError, gzip.BadGzipFile,
            DatasetNotFoundError, DatasetGenerationError) as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.ENOSPC:
            raise error.__cause__ from None  # a full disk is no fault of the data
        raise RecipeError(f"{key}: cannot read {what}: {_reason(at, error)}; {remedy}.") from None


def _load_split(key, at, config, split):
    where = {"revision": at.commit, "cache_dir": _cache(at)}
    read = load_dataset_builder(at.path, config, **where).config
    if not isinstance(read, CsvConfig):
        return load_dataset(at.path, config, split=split, **where)
    rows = None
    if read.na_values is None and read.keep_default_na:
        try:
            rows = load_dataset(at.path, config, split=split, **where, **WORDS)
        except DatasetGenerationError:  # a column of numbers that says "NA" where there is none
            pass
    rows = load_dataset(at.path, config, split=split, **where) if rows is None else rows
    _check_fields(key, at, rows)
    if read.sep == "\t":
        _check_quotes(key, at, rows, "\n")  # many hands wrote these: a tab alone may be meant
    return rows


def _cache(at):
    """A cache of its own for every content: `datasets` knows folders by their last name only, and files by their path
    and time.

    Without it, `mirror/datasets/a/pairs` is read once and `mirror/datasets/b/pairs` then has its rows, and so has the
    folder itself after its files have changed. And when the Hub fails, the library takes what it has of a repository,
    of whatever commit.
    """
    return f"{datasets.config.HF_DATASETS_CACHE}/{at.digest[:32] if Path(at.path).exists() else at.commit}"


def _load_files(key, at, patterns, split):
    found = _matching(at, patterns)
    builder = builder_of(found[0]) if found else None
    if builder is None or {builder_of(file) for file in found} != {builder}:
        raise RecipeError(f"{key}: files: {', '.join(patterns)} matches {found[:3] or 'no data file'} in "
                          f"'{at.reference}'; write patterns of JSONL, CSV or parquet files, all of one format.")
    options = dict(WORDS) if builder == "csv" else {}
    options |= {"sep": "\t"} if ".tsv" in Path(found[0]).suffixes else {}
    rows_of_it = split[len(split.partition("[")[0]):]  # "[:1000]" of "train[:1000]"
    if Path(at.path).exists():
        found = [escape(file) for file in found]  # a name is no pattern
    rows = load_dataset(builder, data_files=found, split=f"train{rows_of_it}", cache_dir=_cache(at), **options)
    if builder == "csv":
        _check_fields(key, at, rows)
    if "sep" in options:
        _check_quotes(key, at, rows)
    return rows


def _check_fields(key, at, rows):
    """If every row has a field more than the header, pandas takes the first for row names, and all others move."""
    if "__index_level_0__" in rows.column_names:
        raise RecipeError(f"{key}: the rows of '{at.reference}' have more fields than its first line has names; mend "
                          "that line, or take out what ends the rows. (A column of the name __index_level_0__ is not "
                          "possible.)")


def _check_quotes(key, at, rows, also=""):
    """Between a quotation mark and the next, rows become one: then there is a tab within a value."""
    for column, type_of in zip(rows.column_names, rows.data.schema.types):
        if pa.types.is_string(type_of) or pa.types.is_large_string(type_of):
            values = rows.data.column(column)
            broken = values.filter(pc.and_(*(pc.match_substring(values, mark) for mark in ("\t", also))))
            if len(broken):
                raise RecipeError(f"{key}: '{at.reference}' has a tab within a value of '{column}' "
                                  f"({broken[0].as_py()[:60]!r}), as a quotation mark opens there; double the "
                                  "quotation marks of the texts, or write the file as JSONL.")


def check_utf_8(key: str, at: Located, rows: Dataset, column: str) -> None:
    """Raises [`RecipeError`] if a column holds text that is not UTF-8: readers of JSON and parquet take any bytes."""
    try:
        rows.data.table.column(column).validate(full=True)
    except pa.ArrowInvalid as error:
        raise RecipeError(f"{key}: '{column}' of '{at.reference}' is no text in UTF-8 ({in_short(error)}); store it "
                          "so.") from None


def _matching(at, patterns):
    root = Path(at.path)
    if root.is_file():
        return [at.path]
    if root.is_dir():
        names = [file.relative_to(root).as_posix() for file in sorted(visible_files(root)) if file.is_file()]
        where = f"{root}/"
    else:
        names = sorted(HfApi().list_repo_files(at.path, repo_type="dataset", revision=at.commit))
        where = f"hf://datasets/{at.path}@{at.commit}/"
    return [where + name for name in names if builder_of(name) and any(fnmatch(name, p) for p in patterns)]


def _reason(at, error):
    """What is wrong with the data; for a JSONL file, in which line."""
    if at.path.endswith(".jsonl") and Path(at.path).is_file():
        with open(at.path, encoding="utf-8", errors="replace") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    json.loads(line.strip() or "null")
                except ValueError as wrong:
                    return f"line {number} is no valid JSON, from column {wrong.colno} on ({wrong.msg})"
    is_empty = isinstance(error, StopIteration) or re.search(r'"\w+" corresponds to no data', str(error))
    return "it holds no rows" if is_empty else in_short(error.__cause__ or error)
