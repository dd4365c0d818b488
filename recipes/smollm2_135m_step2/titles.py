"""Pairs each title or question with the nearest other one in the eyes of both guides: rows for `convert`.

    python -m recipes.smollm2_135m_step2.titles --mirror m1 --mirror m2      # by two processes: README.md

Labelled duplicates are few, and the model learns them by heart; titles are many. Their nearest neighbours are what the
guides hold for duplicates, and `mine` finds the next ones as hard negatives, so that training asks for the guides'
order of near titles. Writes `artifacts/smollm2_135m_step2/titles.jsonl`; ten minutes on two shared cores.

The first two sources are not on the Hub, only in the mirror. Gaming and unix, the sites of CQADupStack that
MTEB's English benchmark searches, stay out; `convert` drops what else is a text of a test set.
"""

import argparse
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np

from anna_embed.data.load import load_rows
from anna_embed.fetch import go_offline
from anna_embed.located import locate
from anna_embed.parsing import one_sentence
from anna_embed.teacher.guide_vectors import Guide
from anna_embed.teacher.nearest import search
from anna_embed.teacher.shards import Processes

SOURCES = (("stackexchange/cqadupstack-titles", None, "train", ["text"]),
           ("jacoxu/StackOverflow", None, "train", ["text"]),
           ("sentence-transformers/quora-duplicates", "pair-class", "train+test", ["sentence1", "sentence2"]))
OUT = {"label_text": {"gaming", "unix"}}
GUIDES = {"guide": "BAAI/bge-small-en-v1.5", "second_guide": "sentence-transformers/all-mpnet-base-v2"}
LEAST, MOST = 0.65, 0.97  # cosine: below it is another question, above it the same but for a comma


def titles(mirrors: list[str]) -> list[str]:
    """The distinct titles, in the order of the sources."""
    found = {}
    for path, config, split, columns in SOURCES:
        rows = load_rows("titles", locate("titles", path, "dataset", mirrors), config, split)
        for column, values in OUT.items():
            if column in rows.column_names:
                rows = rows.filter(lambda value: value not in values, input_columns=column)
        found |= {text.strip().casefold(): text.strip() for column in columns for text in rows[column] if text}
    return [text for key, text in found.items() if key]


def neighbours(vectors: np.ndarray, nearest: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """
    Which titles have a near one, and which that is.

    Args:
        vectors (`np.ndarray`): (n, dim), of length one.
        nearest (`np.ndarray`): (n, 2), the two nearest to each; one of them may be the title itself.

    Returns:
        `tuple[np.ndarray, np.ndarray]`: indices of titles, and of the nearest other title of each.
    """
    others = np.where(nearest[:, 0] == np.arange(len(nearest)), nearest[:, 1], nearest[:, 0])
    cosines = np.einsum("nd,nd->n", vectors, vectors[others])
    kept = np.flatnonzero((cosines >= LEAST) & (cosines <= MOST))
    return kept, others[kept]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", default="artifacts/smollm2_135m_step2", help="folder of titles.jsonl")
    parser.add_argument("--mirror", action="append", default=[], help="folder in Hub layout; may be given repeatedly")
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float32"), help="of the guides' weights")
    given = parser.parse_args()
    if given.mirror:
        go_offline()
    output, work = Path(given.output), Path(given.output, ".cache", "titles")
    processes = Processes(work / ".failed")
    with processes.state.main_process_first():
        texts = titles(given.mirror)
        models = {key: locate(key, name, "model", given.mirror) for key, name in GUIDES.items()}
    guide = Guide(models, output / ".cache" / "vectors", 192, given.dtype)
    guide.embed(texts, processes)
    vectors = guide(texts)
    made_from = json.dumps([*texts, *(model.digest for model in models.values()), given.dtype])
    found = work / hashlib.sha256(made_from.encode()).hexdigest()[:16]  # shards of other titles are none of these
    kept, others = neighbours(vectors, search(vectors, vectors, 2, 1.0, found, processes, "Nearest titles"))
    processes.state.wait_for_everyone()  # all have read the shards
    if processes.state.is_main_process:
        partial = output / "titles.jsonl.partial"
        with partial.open("w", encoding="utf-8") as file:
            for title, other in zip(kept, others):
                file.write(json.dumps({"query": texts[title], "positive": texts[other]}) + "\n")
        partial.rename(output / "titles.jsonl")
        shutil.rmtree(work)
        print(f"titles: {output / 'titles.jsonl'} holds {len(kept):,} pairs of {len(texts):,} titles")


if __name__ == "__main__":
    with one_sentence():
        main()
