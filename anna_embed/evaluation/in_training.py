"""The Trainer's `compute_metrics`: scores of held-out rows during training, by the `evaluate` modules beside this."""

from pathlib import Path

import evaluate
import numpy as np
from transformers import EvalPrediction

from anna_embed.evaluation.metrics import best, clusters

MODULES = Path(__file__).parent / "modules"
# Of each kind the score, named as the benchmark names it, and the module that computes it.
SCORES = {
    "retrieval": ("ndcg_at_10", "ndcg_at_10"), "reranking": ("ndcg_at_10", "ndcg_at_10"),
    "nli": ("triplet_accuracy", "accuracy"), "sts": ("spearman", "spearman"),
    "classification": ("accuracy", "accuracy"), "clustering": ("v_measure", "v_measure"),
}


class HeldOutScores:
    """From the vectors of held-out texts to `<task>_<metric>` of each task and their `mean`.

    Args:
        kinds (`dict[str, str]`): Kind of each task, in the order of the Trainer's held-out rows.
    """

    def __init__(self, kinds: dict[str, str]):
        self.kinds = kinds
        self.names = ["mean", *(f"{task}_{SCORES[kind][0]}" for task, kind in kinds.items())]
        self.modules = {name: evaluate.load(str(MODULES / name), keep_in_memory=True)
                        for name in sorted({SCORES[kind][1] for kind in kinds.values()})}

    def __call__(self, prediction: EvalPrediction) -> dict[str, float]:
        """Takes of each task the vectors of each side, (texts, dim), and what is right."""
        tasks = zip(self.kinds.values(), prediction.predictions, prediction.label_ids, strict=True)
        values = [self._score(kind, sides, right) for kind, sides, right in tasks]
        return dict(zip(self.names, [float(np.mean(values)), *values]))

    def _score(self, kind, sides, right):
        module = SCORES[kind][1]
        found = self.modules[module].compute(predictions=predictions(kind, sides, right), references=right)
        return float(found[module])


def predictions(kind: str, sides: list[np.ndarray], right: list) -> np.ndarray:
    """What the vectors of one task say: ranked passages, cosines, nearer or not, nearest labels, clusters."""
    first, *others = sides
    if kind == "nli":
        positives, negatives = others
        return ((first * positives).sum(1) > (first * negatives).sum(1)).astype(int)
    if kind == "sts":
        return (first * others[0]).sum(1)
    if kind == "classification":
        return (first @ others[0].T).argmax(1)
    if kind == "clustering":
        return clusters(first, len(set(right)))
    return best(first @ others[0].T)
