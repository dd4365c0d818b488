"""The texts of training sources and of evaluation sets, read a part at a time, for the audit of near-duplicates."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from datasets import Dataset, get_dataset_config_names, get_dataset_split_names

from anna_embed.artifacts import read_manifest
from anna_embed.data.audit import all_texts, texts_of_test_set
from anna_embed.data.load import load_rows
from anna_embed.data.rows import lookup_table
from anna_embed.located import Located
from anna_embed.parsing import RecipeError
from anna_embed.schema import CORPUS, PAIRS
from anna_embed.tables import read_split, tasks_of

ROWS = 2000  # read at once
CORPUS_TABLE = {"config": "corpus", "split": "corpus", "id": "_id", "text": ["title", "text"]}


def training_texts(at: Located) -> dict[str, Iterable[str]]:
    """The texts that would be trained on, by the name of the source.

    Args:
        at (`Located`): A pairs artifact, whose `train` splits are read, task by task, with the passages that negatives
            are mined from; any dataset, all of whose configs and splits are read; or a file of rows.
    """
    manifest = read_manifest(at.path)
    if manifest.get("stage") == "convert":
        kinds = {name: task["kind"] for name, task in tasks_of("pairs", at.path).items()}
        return {config: _of_pairs(at.path, config, kinds) for config, splits in manifest["rows"].items()
                if "train" in splits}
    if Path(at.path).is_file():
        return {at.reference: _of_rows(load_rows("sources", at, None, "train"))}
    try:
        listed = [(config, split) for config in get_dataset_config_names(at.path)
                  for split in get_dataset_split_names(at.path, config)]
    except (FileNotFoundError, ValueError) as error:
        raise RecipeError(f"sources: cannot read '{at.reference}' ({' '.join(str(error).split())[:200]}); name a "
                          "dataset, a file of rows, or a pairs artifact.") from None
    return {f"{at.reference} {config}/{split}": _of_rows(load_rows("sources", at, config, split))
            for config, split in listed}


def _of_pairs(folder, config, kinds) -> Iterator[str]:
    if config not in kinds:
        for rows in _parts(read_split("pairs", folder, config, "train", CORPUS)):
            yield from rows["text"]
        return
    for rows in _parts(read_split("pairs", folder, config, "train", PAIRS)):
        yield from rows["query"]
        if kinds[config] != "classification":  # there the others are label texts, which test sets share by nature
            yield from rows["positive"]
            yield from (text for negatives in rows["negatives"] for text in negatives)


def _of_rows(rows: Dataset) -> Iterator[str]:
    for start in range(0, len(rows), ROWS):
        yield from all_texts(rows.select(range(start, min(start + ROWS, len(rows)))))


def _parts(rows: Dataset) -> Iterator[dict[str, list[Any]]]:
    return rows.iter(ROWS)


def evaluation_texts(name: str, at: Located, test_set: dict[str, str], documents: bool) -> dict[str, list[str]]:
    """The texts of an evaluation set, its queries apart from the documents that they search.

    Args:
        name (`str`): The set's.
        at (`Located`), test_set (`dict[str, str]`): Where it is, and which config and split of it.
        documents (`bool`): Also read those of sets in BEIR's shape; millions, for some.
    """
    found = {name: texts_of_test_set(at, test_set)}
    if documents and "corpus" in get_dataset_config_names(at.path):
        try:
            found[f"{name} documents"] = list(lookup_table("test_sets", at, CORPUS_TABLE).values())
        except RecipeError:
            found[f"{name} documents"] = list(lookup_table("test_sets", at, CORPUS_TABLE | {"text": "text"}).values())
    return found
