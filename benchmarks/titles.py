"""Pairs of titles in a corpus of titles, at any size: what the benchmark of mining works on."""

from pathlib import Path

from anna_embed.parsing import RecipeError

TASK = "titles"


def write(folder: str, pairs: str, others: list[str], mirror: list[str], sizes: list[int],
          most_positives: int) -> dict[int, Path]:
    """
    Writes pairs and corpus of each size as the convert stage would.

    Args:
        folder (`str`): holds one folder per size.
        pairs (`str`): dataset whose first two columns are query and positive.
        others (`list[str]`): `dataset:column`, what the corpus is filled up with.
        mirror (`list[str]`): folders in Hub layout; none to read from the Hub.
        sizes (`list[int]`): passages of each corpus; a quarter at most are positives.
        most_positives (`int`): of a query.

    Returns:
        `dict[int, Path]`: the folder of each size.
    """
    from anna_embed.data.texts import text_id
    from anna_embed.schema import CORPUS, PAIRS
    from anna_embed.tables import write_split

    known = [tuple(row.values())[:2] for row in _rows(pairs, mirror)]
    texts = [row[column] for dataset, column in (name.split(":") for name in others) for row in _rows(dataset, mirror)]
    folders = {size: Path(folder, str(size)) for size in sizes}
    for size, at in folders.items():
        chosen = choose_pairs(known, most_positives, size // 4)
        rows = [{"query_id": text_id(q), "query": q, "positive_id": text_id(p), "positive": p, "negatives": [],
                 "label": None, "label_score": None, "task": TASK} for q, p in chosen]
        corpus = [{"id": text_id(p), "text": p} for p in fill([p for _, p in chosen], texts, size)]
        write_split(at, TASK, "train", rows, PAIRS)
        write_split(at, f"{TASK}-corpus", "train", corpus, CORPUS)
        print(f"{size:,} passages: {len({q for q, _ in chosen}):,} queries, {len(chosen):,} pairs", flush=True)
    return folders


def read(folder: str) -> tuple[list[str], list[str]]:
    """The distinct queries, and the passages, in the order in which `mine_hard_negatives` asks for their vectors."""
    from anna_embed.schema import CORPUS, PAIRS
    from anna_embed.tables import read_split

    queries = read_split("pairs", folder, TASK, "train", PAIRS)["query"]
    return list(dict.fromkeys(queries)), list(read_split("pairs", folder, f"{TASK}-corpus", "train", CORPUS)["text"])


def choose_pairs(pairs: list[tuple[str, str]], most_positives: int, room: int) -> list[tuple[str, str]]:
    """
    All pairs of some queries, as long as there is room for their positives.

    Args:
        pairs (`list[tuple[str, str]]`): query and positive.
        most_positives (`int`): of a query; further ones are left out.
        room (`int`): distinct positives in all.
    """
    from anna_embed.data.texts import by_hash

    positives = {}
    for query, positive in pairs:
        if query and positive and query != positive:
            positives.setdefault(query, {})[positive] = None
    chosen, held = [], set()
    for query in by_hash(positives, 0):
        own = list(positives[query])[:most_positives]
        if len(held) + len(set(own) - held) > room:
            break
        held.update(own)
        chosen += [(query, positive) for positive in own]
    return chosen


def fill(positives: list[str], others: list[str], size: int) -> list[str]:
    """
    A corpus of so many distinct passages: the positives, and others chosen by a hash of their text.

    Raises:
        [`RecipeError`]: there are not so many.
    """
    from anna_embed.data.texts import by_hash

    corpus = list(dict.fromkeys([*positives, *by_hash({text for text in others if text}, 0)]))[:size]
    if len(corpus) < size:
        raise RecipeError(f"passages: {size} are asked for, but there are only {len(corpus)}; write that, or name "
                          "more datasets in titles.")
    return by_hash(corpus, 1)


def _rows(dataset, mirror):
    from datasets import load_dataset

    from anna_embed.located import locate

    return load_dataset(locate("pairs", dataset, "dataset", mirror, download=False).path, split="train")
