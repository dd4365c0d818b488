"""Share of predictions that are right."""

import datasets
import evaluate


class Accuracy(evaluate.Metric):
    def _info(self):
        number = datasets.Value("int64")
        return evaluate.MetricInfo(
            description="Share of predictions that are right.", citation="",
            inputs_description="predictions: number of each text's nearest label. references: of the right one.",
            features=datasets.Features({"predictions": number, "references": number}))

    def _compute(self, predictions, references):
        return {"accuracy": sum(p == r for p, r in zip(predictions, references)) / len(references)}
