"""Where a source's data is: found before anything is read, and without importing what reads it."""

from pathlib import Path

from anna_embed.data.source import Source
from anna_embed.located import Located, locate, with_splits
from anna_embed.parsing import RecipeError

BUILDERS = {".jsonl": "json", ".json": "json", ".csv": "csv", ".tsv": "csv", ".parquet": "parquet"}


def builder_of(file: str) -> str | None:
    """The loader of `datasets` for a data file, compressed or not; None for any other name."""
    return BUILDERS.get(Path(file.removesuffix(".gz")).suffix)


def locate_source(source: Source, mirrors: list[str]) -> dict[str, Located]:
    """The inputs of one task, by name: its data and, if it lies elsewhere, its held-out data."""
    if source.test_path is None and (Path(source.path).is_file() or _one_split(source)):
        for key, split in (("split", source.split), ("test_split", source.test_split)):
            if split is not None and split.partition("[")[0] != "train":
                raise source.error(f"{key}: {split!r} is not possible, as '{source.path}' is read as one split, "
                                   "train; write a part of it, for example 'train[90%:]', or give a test_path.")
    found = {source.name: locate_data(f"{source.key}: path", source.path, source.revision, mirrors)}
    if source.test_path is not None:  # names its own revision: org/name@revision
        found[held_out_name(source)] = locate_data(f"{source.key}: test_path", source.test_path, None, mirrors)
    return found


def _one_split(source):
    """Whether its data files are the same whatever the split."""
    return bool(source.files) and source.files_of("train") == source.files_of("test")


def held_out_name(source: Source) -> str:
    """The name of the held-out data of a task among the inputs of the stage."""
    return source.name if source.test_path is None else f"{source.name} (test)"


def locate_data(key: str, path: str, revision: str | None, mirrors: list[str]) -> Located:
    """A data file, a dataset folder or a Hub id; a missing file is said as such.

    Raises:
        [`RecipeError`]: nothing is there.
    """
    if builder_of(path) and not Path(path).is_file():
        raise RecipeError(f"{key}: there is no file '{path}'; give the path of a JSONL, CSV or parquet file.")
    if Path(path).is_file() and not builder_of(path):
        raise RecipeError(f"{key}: '{path}' is no data file by its name; the endings are {', '.join(BUILDERS)}, "
                          "and .gz behind one of them.")
    reference = path if revision is None or Path(path).exists() else f"{path}@{revision}"
    return with_splits(key, locate(key, reference, "dataset", mirrors, download=False))
