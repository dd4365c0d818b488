"""V-measure of clusters."""

import datasets
import evaluate
from sklearn.metrics import v_measure_score


class VMeasure(evaluate.Metric):
    def _info(self):
        number = datasets.Value("int64")
        return evaluate.MetricInfo(
            description="V-measure: harmonic mean of homogeneity and completeness (Rosenberg and Hirschberg, 2007).",
            citation="", inputs_description="predictions: number of each text's cluster. references: of its category.",
            features=datasets.Features({"predictions": number, "references": number}))

    def _compute(self, predictions, references):
        return {"v_measure": float(v_measure_score(references, predictions))}
