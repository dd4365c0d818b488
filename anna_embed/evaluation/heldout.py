"""The pairs' held-out rows as small evaluation tasks, and any encoder's scores on them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from anna_embed.evaluation import metrics
from anna_embed.kinds import KINDS
from anna_embed.prompts import query_prompt
from anna_embed.schema import CORPUS, PAIRS
from anna_embed.tables import read_split

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
    """Every task of a pairs artifact that has a test split."""
    found = []
    for name, task in tasks.items():
        if "test" in manifest_rows[name]:
            corpus = {"id": [], "text": []}
            if KINDS[task["kind"]].scored:
                corpus = read_split("pairs", folder, f"{name}-corpus", "test", CORPUS)
            rows = read_split("pairs", folder, name, "test", PAIRS).to_list()
            found.append(HeldOut(name, task["kind"], task["instruction"], rows, corpus["id"][:], corpus["text"][:]))
    return found


def score(task: HeldOut, encode: Encode, instructed: bool) -> list[dict]:
    """Scores of one encoder on one task.

    Args:
        task (`HeldOut`): The rows.
        encode (`Callable`): Texts and prompt to vectors.
        instructed (`bool`): Whether the model takes instructions; the others get bare texts.

    Returns:
        `list[dict]`: `task`, `metric`, `value` and `n`.
    """
    prompt = query_prompt(task.instruction) if instructed else ""
    document_prompt = prompt if KINDS[task.kind].symmetric else ""
    by_kind = {"retrieval": _retrieval, "reranking": _retrieval, "sts": _sts, "nli": _nli,
               "classification": _classification, "clustering": _clustering}
    metric, value, n = by_kind[task.kind](task, encode, prompt, document_prompt)
    return [{"task": task.name, "metric": metric, "value": value, "n": n}]


def _retrieval(task, encode, prompt, document_prompt):
    queries, passages = encode(list(task.queries.values()), prompt), encode(task.passages, document_prompt)
    ranked = np.argsort(-(queries @ passages.T), axis=1, kind="stable")[:, :10]
    return "ndcg_at_10", metrics.ndcg_at_10(ranked, task.relevant), len(queries)


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
    value = metrics.label_accuracy(encode([r["query"] for r in task.rows], prompt), encode(labels, document_prompt), gold)
    return "accuracy", value, len(gold)


def _clustering(task, encode, prompt, document_prompt):
    labels = sorted({r["label"] for r in task.rows})
    gold = np.asarray([labels.index(r["label"]) for r in task.rows])
    return "v_measure", metrics.v_measure(encode([r["query"] for r in task.rows], prompt), gold), len(gold)
