"""nDCG@10 of ranked passages."""

import datasets
import evaluate

from anna_embed.evaluation.metrics import ndcg_at_10


class NdcgAt10(evaluate.Metric):
    def _info(self):
        numbers = datasets.List(datasets.Value("int64"))
        return evaluate.MetricInfo(
            description="Mean nDCG@10 with binary relevance.",
            citation="",
            inputs_description="predictions: numbers of each query's passages, best first. references: numbers of its "
                               "right passages, at least one.",
            features=datasets.Features({"predictions": numbers, "references": numbers}))

    def _compute(self, predictions, references):
        return {"ndcg_at_10": ndcg_at_10(predictions, [set(right) for right in references])}
