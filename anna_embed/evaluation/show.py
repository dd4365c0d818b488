"""Results as people read them."""

import shlex
import sys

METRICS = {"ndcg_at_10": "nDCG@10", "spearman": "Spearman", "accuracy": "accuracy", "v_measure": "V-measure",
           "triplet_accuracy": "triplet accuracy", "cosine_spearman": "Spearman", "mean": "mean"}


def as_text(table: list[dict]) -> str:
    """A table of models by task; an empty cell where a model was not scored.

    Args:
        table (`list[dict]`): `model`, `task`, `metric`, `value`, `n`, and perhaps a `note` on the task's data.
    """
    if not table:
        return "(no task has held-out rows)"
    tasks = list(dict.fromkeys((r["task"], r["metric"], r["n"], r.get("note")) for r in table))
    models = list(dict.fromkeys(r["model"] for r in table))
    value = {(r["model"], r["task"], r["metric"], r["n"], r.get("note")): r["value"] for r in table}
    width = max(map(len, models))
    lines = []
    for about in tasks:
        task, metric, n, note = about
        lines.append(f"\n{task}: {METRICS.get(metric, metric)}, n = {n}" + (f" ({note})" if note else ""))
        scored = [(value[m, *about], m) for m in models if (m, *about) in value]
        lines += [f"  {model:<{width}}  {v:.3f}" for v, model in sorted(scored, reverse=True)]
    return "\n".join(lines)


def command() -> str:
    """The command that runs, as it can be run again."""
    return shlex.join(["python", "-m", "recipes.benchmark", *sys.argv[1:]])


def how_to_use(model: str) -> str:
    """Three lines that load a model and rank passages for a question."""
    return f"""
Use it (any Python with sentence-transformers):

  from sentence_transformers import SentenceTransformer; model = SentenceTransformer("{model}")
  passages = ["Venus -- Venus is the second planet from the Sun.", "Mount Etna -- Mount Etna is a volcano in Sicily."]
  print(model.similarity(model.encode_query("is venus closer to the sun than us"), model.encode_document(passages)))
"""
