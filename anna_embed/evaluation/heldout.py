"""The pairs' held-out rows as small evaluation tasks, and any encoder's scores on them."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anna_embed.evaluation import metrics
from anna_embed.kinds import KINDS
from anna_embed.parsing import RecipeError
from anna_embed.schema import CORPUS, PAIRS
from anna_embed.tables import read_split

TOLD_APART = {"sts": "label_score", "classification": "positive", "clustering": "label"}  # the column, by kind
BLOCK = 256  # queries at once: their scores of a million passages take 1 GB
# texts and a prompt to unit vectors (texts, dim)
Encode = Callable[[list[str], str], np.ndarray]


@dataclass
class HeldOut:
    """The held-out rows of one task.

    Args:
        name, kind, instruction (`str`): The task.
        rows (`list[dict]`): Rows of the pairs artifact's test split.
        ids, passages (`list[str]`): The held-out corpus (retrieval kinds).
    """

    name: str
    kind: str
    instruction: str
    rows: list[dict]
    ids: list[str]
    passages: list[str]

    @property
    def queries(self) -> dict[str, str]:
        """Distinct queries, id to text, in the order of their ids."""
        return dict(sorted({r["query_id"]: r["query"] for r in self.rows}.items()))

    @property
    def relevant(self) -> list[set[int]]:
        """Places in the corpus of each query's right passages, in the order of `queries`."""
        place, right = {i: n for n, i in enumerate(self.ids)}, {q: set() for q in self.queries}
        for row in self.rows:
            right[row["query_id"]].add(place[row["positive_id"]])
        return list(right.values())


def read_held_out(folder: str, tasks: dict[str, dict], manifest_rows: dict[str, dict]) -> list[HeldOut]:
    """Every task of a pairs artifact whose test split leaves something to tell apart; of the others it is said."""
    found = []
    for name, task in tasks.items():
        if "test" in manifest_rows[name]:
            corpus = {"id": [], "text": []}
            if KINDS[task["kind"]].scored:
                corpus = read_split("pairs", folder, f"{name}-corpus", "test", CORPUS)
            rows = _usable(task["kind"], read_split("pairs", folder, name, "test", PAIRS).to_list())
            if rows:
                found.append(HeldOut(name, task["kind"], task["instruction"], rows, corpus["id"][:],
                                     corpus["text"][:]))
            else:
                print(f"The held-out rows of '{name}' leave nothing to tell apart (labels, scores or negatives are "
                      "missing or all the same): it is not scored.", flush=True)
    return found


def _usable(kind, rows):
    """The rows that a score can be made of; none if it would be the same for every model."""
    if kind == "nli":
        return [row for row in rows if row["negatives"]]
    if kind not in TOLD_APART:
        return rows
    rows = [row for row in rows if row[TOLD_APART[kind]] is not None]
    return rows if len({row[TOLD_APART[kind]] for row in rows}) > 1 else []


def score_all(name: str, load: Callable[[], Encode], held_out: list[HeldOut], prompts: dict[str, str], few: int,
              folder: Path, documents: str = "") -> list[dict]:
    """Scores of one model on all tasks, kept in `folder`: a kill loses one model at most.

    Args:
        name (`str`): What the table calls the model.
        load (`Callable`): Gives its encoder; not called if the scores are there.
        held_out (`list[HeldOut]`), prompts (`dict[str, str]`), few (`int`): As for `score`; the prompt by task.
        folder (`Path`): Holds one file a model.
        documents (`str`): As for `score`.

    Raises:
        [`RecipeError`]: a score is no number.
    """
    saved = folder / f"{re.sub(r'[^A-Za-z0-9.]+', '-', name)}.json"
    if not saved.is_file():
        print(f"benchmark: {name}", flush=True)
        encode = load()
        rows = [{"model": name, **row} for task in held_out
                for row in score(task, encode, prompts[task.name], few, documents)]
        for row in rows:
            if not np.isfinite(row["value"]):
                raise RecipeError(f"{name}: its {row['metric']} on the held-out rows of '{row['task']}' is no number: "
                                  "its vectors hold NaN, or are equally similar; check its weights, or hold out more "
                                  "rows.")
        folder.mkdir(exist_ok=True)
        saved.with_suffix(".tmp").write_text(json.dumps(rows))
        saved.with_suffix(".tmp").rename(saved)
    return json.loads(saved.read_text())


def score(task: HeldOut, encode: Encode, prompt: str, few: int, documents: str = "") -> list[dict]:
    """Scores of one encoder on one task.

    Args:
        task (`HeldOut`): The rows.
        encode (`Callable`): Texts and prompt to vectors.
        prompt (`str`): Put in front of queries, and of the documents of symmetric tasks; empty for models that take no
            instruction.
        few (`int`): Retrieval is also scored on the first queries alone, on which the slow teachers run.
        documents (`str`): Put in front of the documents of tasks that tell them from queries.

    Returns:
        `list[dict]`: `task`, `metric`, `value` and `n`.
    """
    document_prompt = prompt if KINDS[task.kind].symmetric else documents
    if KINDS[task.kind].scored:
        return retrieval_rows(task, _ranked(task, encode, prompt, document_prompt), few)
    measure = {"sts": _sts, "nli": _nli, "classification": _classification, "clustering": _clustering}[task.kind]
    metric, value, n = measure(task, encode, prompt, document_prompt)
    return [{"task": task.name, "metric": metric, "value": value, "n": n}]


def retrieval_rows(task: HeldOut, ranked: np.ndarray, few: int) -> list[dict]:
    """nDCG@10 of ranked passages (queries, 10): of all queries if they are there, and of the first `few`."""
    parts = {} if len(ranked) < len(task.queries) else {task.name: len(ranked)}
    if few < len(task.queries):
        parts[f"{task.name} (first {few} queries)"] = few
    return [{"task": name, "metric": "ndcg_at_10", "value": metrics.ndcg_at_10(ranked[:n], task.relevant[:n]), "n": n}
            for name, n in parts.items()]


def _ranked(task, encode, prompt, document_prompt):
    queries, passages = encode(list(task.queries.values()), prompt), encode(task.passages, document_prompt)
    blocks = [metrics.best(queries[n: n + BLOCK] @ passages.T) for n in range(0, len(queries), BLOCK)]
    return np.concatenate(blocks)


def _sts(task, encode, prompt, document_prompt):
    left, right = (encode([r[side] for r in task.rows], prompt) for side in ("query", "positive"))
    return "spearman", metrics.spearman(left, right, np.asarray([r["label_score"] for r in task.rows])), len(task.rows)


def _nli(task, encode, prompt, document_prompt):
    triplets = [(r["query"], r["positive"], r["negatives"][0]) for r in task.rows if r["negatives"]]
    value = metrics.triplet_accuracy(*(encode(list(side), prompt) for side in zip(*triplets)))
    return "triplet_accuracy", value, len(triplets)


def _classification(task, encode, prompt, document_prompt):
    labels = sorted({r["positive"] for r in task.rows})
    gold = np.asarray([labels.index(r["positive"]) for r in task.rows])
    texts = encode([r["query"] for r in task.rows], prompt)
    return "accuracy", metrics.label_accuracy(texts, encode(labels, document_prompt), gold), len(gold)


def _clustering(task, encode, prompt, document_prompt):
    labels = sorted({r["label"] for r in task.rows})
    gold = np.asarray([labels.index(r["label"]) for r in task.rows])
    return "v_measure", metrics.v_measure(encode([r["query"] for r in task.rows], prompt), gold), len(gold)
