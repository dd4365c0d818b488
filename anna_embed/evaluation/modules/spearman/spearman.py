"""Spearman correlation of two lists of numbers."""

import datasets
import evaluate
from scipy.stats import spearmanr


class Spearman(evaluate.Metric):
    def _info(self):
        number = datasets.Value("float32")
        return evaluate.MetricInfo(
            description="Spearman's rank correlation.", citation="",
            inputs_description="predictions: the model's similarity of each pair. references: the given one.",
            features=datasets.Features({"predictions": number, "references": number}))

    def _compute(self, predictions, references):
        return {"spearman": float(spearmanr(predictions, references).statistic)}
