"""Reading a source's rows from a file, a folder, a mirror or the Hub."""

from pathlib import Path
from typing import Any

from datasets import Dataset, load_dataset
from datasets.exceptions import DatasetNotFoundError

from anna_embed.artifacts import Located, locate
from anna_embed.data.sources import Source
from anna_embed.parsing import RecipeError

BUILDERS = {".jsonl": "json", ".json": "json", ".csv": "csv", ".tsv": "csv", ".parquet": "parquet"}


def locate_source(source: Source, mirrors: list[str]) -> dict[str, Located]:
    """The inputs of one task, by name: its data and, if it lies elsewhere, its held-out data."""
    paths = {source.name: source.path}
    if source.test_path is not None:
        paths[f"{source.name} (test)"] = source.test_path
    return {name: locate_data(name, path, source.revision, mirrors) for name, path in paths.items()}


def locate_data(name: str, path: str, revision: str | None, mirrors: list[str]) -> Located:
    """A data file, a dataset folder or a Hub id; a missing file is said as such."""
    if Path(path).suffix in BUILDERS and not Path(path).is_file():
        raise RecipeError(f"tasks: {name}: path: there is no file '{path}'; give the path of a JSONL, CSV or parquet file.")
    reference = path if revision is None or Path(path).exists() else f"{path}@{revision}"
    return locate(f"tasks: {name}: path", reference, "dataset", mirrors, download=False)


def load_rows(name: str, at: Located, config: str | None, split: str) -> Dataset:
    """One split of one config.

    Raises:
        [`RecipeError`]: the file is no valid JSONL, CSV or parquet, or has no such config or split.
    """
    builder = BUILDERS.get(Path(at.path).suffix)
    try:
        if builder and Path(at.path).is_file():
            return load_dataset(builder, data_files=at.path, split="train", **({"sep": "\t"} if at.path.endswith("tsv") else {}))
        return load_dataset(at.path, config, split=split, revision=at.commit)
    except (ValueError, DatasetNotFoundError, FileNotFoundError) as error:
        reason = " ".join(str(error).split())[:300]
        raise RecipeError(f"tasks: {name}: cannot read config {config!r}, split {split!r} of '{at.reference}': {reason}; "
                          "mend the file, or name a config and split that it has.") from None


def lookup_table(name: str, at: Located, table: dict[str, Any]) -> dict[str, str]:
    """`{id: text}` of a corpus or query table given as `{config, split, id, text}`."""
    config = table.get("config")
    rows = load_rows(name, at, config, table.get("split", config or "train"))
    columns = table["text"] if isinstance(table["text"], list) else [table["text"]]
    require_columns(name, at, rows, [table["id"], *columns])
    texts = zip(*(rows[c] for c in columns))
    return {str(i): " ".join(t.strip() for t in parts if t and t.strip()) for i, parts in zip(rows[table["id"]], texts)}


def require_columns(name: str, at: Located, rows: Dataset, columns: list[str]) -> None:
    """Raises [`RecipeError`] naming the first of `columns` that the rows lack."""
    for column in columns:
        if column not in rows.column_names:
            raise RecipeError(f"tasks: {name}: columns: '{at.reference}' has no column '{column}'; it has "
                              f"{', '.join(rows.column_names)}.")
