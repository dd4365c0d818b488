"""The scores of a model in the two forms that the Hub reads: `model-index` on the card, and `.eval_results`."""

from typing import Any

from huggingface_hub import EvalResult, EvalResultEntry, constants, eval_result_entries_to_yaml

from anna_embed.artifacts import OWN
from anna_embed.hub.names import hub_id

# What the Hub calls mteb's types and our kinds of tasks; the others are judged by the similarity of texts.
TASK_TYPES = {"retrieval": "text-retrieval", "reranking": "text-ranking", "classification": "text-classification"}
RESULTS = ".eval_results/anna_embed.yaml"


def model_index(results: dict[str, Any]) -> list[EvalResult]:
    """What the model's page shows."""
    data = {row["task"]: _dataset(results, row["task"]) for row in _own(results)}
    types = {name: task["kind"] for name, task in results.get("tasks", {}).items()}
    types |= {made["task"]: made.get("type", "").lower() for made in results.get("mteb", [])}
    return [EvalResult(task_type=TASK_TYPES.get(types.get(row["task"]), "sentence-similarity"),
                       dataset_type=data[row["task"]].get("id", row["task"]),
                       dataset_name=_name(row), dataset_revision=data[row["task"]].get("revision"),
                       metric_type=row["metric"], metric_value=row["value"]) for row in _own(results)]


def eval_results(results: dict[str, Any]) -> list[dict[str, Any]]:
    """What feeds the benchmarks' own tables: scores from 0 to 100, as mteb writes them, each on a dataset of the Hub.

    Scores on data that differs from what others score, and on parts of it, are left out: they belong into no such
    table.
    """
    place, _, tag = results.get("published_as", "").partition("@")
    source = {"source_url": f"{constants.ENDPOINT}/datasets/{place}/tree/{tag}", "source_name": place} if place else {}
    entries, parts = [], {made["task"] for made in results.get("mteb", []) if made["task"] != made["mteb_task"]}
    for row in _own(results):
        data = _dataset(results, row["task"])
        if data and not row.get("note") and row["task"] not in parts:
            entries.append(EvalResultEntry(
                dataset_id=data["id"], task_id=row["task"], value=round(100 * row["value"], 4),
                dataset_revision=data.get("revision"), notes=f"{row['metric']}, n = {row['n']}", **source))
    return eval_result_entries_to_yaml(entries)


def _own(results):
    return [row for row in results.get("table", []) if row["model"] == OWN]


def _name(row):
    return f"{row['task']} ({row['note']})" if row.get("note") else row["task"]


def _dataset(results, task) -> dict[str, str]:
    """Hub id and revision of the data behind a score, as far as there are such."""
    parents = results["parents"]
    parent = parents.get(f"mteb {task}") or (parents.get("pairs") if task in results.get("tasks", {}) else None) or {}
    reference = parent.get("published_as") or parent.get("reference")
    name, revision = hub_id(reference), parent.get("commit") or (reference or "").partition("@")[2]
    return {"id": name, **({"revision": revision} if revision else {})} if name else {}
