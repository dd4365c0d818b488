"""What training did to the vectors of held-out pairs: cosines, alignment and uniformity."""

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import roc_auc_score

from anna_embed.evaluation.heldout import Encode, HeldOut
from anna_embed.evaluation.report_plots import BLUE, GREY, VERMILION, Picture, Section, Table, legend_below, panels
from anna_embed.evaluation.report_plots import picture
from anna_embed.kinds import KINDS
from anna_embed.prompts import LOWEST_SCORE

MOST_TASKS = 6  # with a panel each


def alignment(left: np.ndarray, right: np.ndarray) -> float:
    """Mean squared distance of the two texts of a pair, both (pairs, dim) of length one; 0 is perfect.

    Wang and Isola, arXiv 2005.10242, with alpha = 2.
    """
    return float(((left - right) ** 2).sum(1).mean())


def uniformity(vectors: np.ndarray) -> float:
    """Log of the mean of `exp(-2 d²)` over all pairs of (texts, dim) vectors of length one.

    From 0, where all texts have one vector, down to about -4, where they are spread over the whole sphere.

    Wang and Isola, arXiv 2005.10242, with t = 2.
    """
    cosines = (vectors @ vectors.T)[np.triu_indices(len(vectors), 1)].astype(np.float64)
    return float(np.log(np.exp(-2 * (2 - 2 * cosines)).mean()))


@dataclass
class Pairs:
    """Held-out pairs of one task that belong together.

    Args:
        task, kind (`str`): The task.
        left, right (`list[str]`): Texts; `right` stands where a document would.
    """

    task: str
    kind: str
    left: list[str]
    right: list[str]


@dataclass
class Geometry:
    """A model's vectors of one task: cosines of its pairs and of texts of different pairs, and the two figures."""

    task: str
    model: str
    together: np.ndarray
    apart: np.ndarray
    alignment: float
    uniformity: float


def pairs_of(held_out: list[HeldOut], most: int) -> list[Pairs]:
    """Positive pairs of each task, `most` of all tasks together, shared out evenly; no text stands in two pairs.

    Graded pairs below 0.8 are left out; of an intent, whose text is the positive, one pair.
    """
    found, room = [], most // max(len(held_out[:MOST_TASKS]), 1)
    for task in held_out[:MOST_TASKS]:
        passages = dict(zip(task.ids, task.passages))
        kept, seen = [], set()
        for row in task.rows:
            pair = (row["query"], passages.get(row["positive_id"], row["positive"]))
            similar = row["label_score"] is None or row["label_score"] >= LOWEST_SCORE
            if similar and not seen & set(pair) and pair[0] != pair[1] and len(kept) < room:
                kept.append(pair)
                seen |= set(pair)
        if len(kept) > 2:
            found.append(Pairs(task.name, task.kind, *map(list, zip(*kept))))
    return found


def geometry(model: str, encode: Encode, pairs: list[Pairs], prompts: dict[str, str]) -> list[Geometry]:
    """Measures one model on all tasks.

    Args:
        model (`str`): What the pictures call it.
        encode (`Callable`): Texts and a prompt to vectors of length one.
        pairs (`list[Pairs]`): From `pairs_of`.
        prompts (`dict[str, str]`): Of the queries, by task; documents of symmetric tasks get it as well.
    """
    found = []
    for p in pairs:
        prompt = prompts[p.task]
        left = encode(p.left, prompt)
        right = encode(p.right, prompt if KINDS[p.kind].symmetric else "")
        cosines = left @ right.T
        apart = cosines[~np.eye(len(left), dtype=bool)]
        found.append(Geometry(p.task, model, cosines.diagonal(), apart, alignment(left, right), uniformity(left)))
    return found


def vectors(models: list[list[Geometry]], pairs: list[Pairs]) -> Section | None:
    """The section; None without pairs. The model of the release is the last of `models`."""
    if not pairs:
        return None
    counted = ", ".join(f"{p.task} {len(p.left)}" for p in pairs)
    return Section("Vectors", [
        f"Held-out pairs that belong together, and texts of different pairs of the same task. Pairs: {counted}.",
        _cosines(models), _two_figures(models), _table(models)])


def _cosines(models) -> Picture:
    tasks = [g.task for g in models[0]]
    lowest = min(values.min() for model in models for g in model for values in (g.apart, g.together))
    edges = np.linspace(lowest - 0.02, 1, 31)
    with panels(len(tasks), len(models), 1.7, sharex=True) as (figure, axes):
        for column, model in enumerate(models):
            for row, g in enumerate(model):
                axis = axes[row, column]
                for values, colour, style, label in ((g.apart, GREY, "--", "different pairs"),
                                                     (g.together, BLUE, "-", "pairs that belong together")):
                    share = np.histogram(values, edges)[0] / len(values) * 100
                    axis.stairs(share, edges, color=colour, linestyle=style, linewidth=1.6, label=label,
                                fill=style == "-", alpha=0.75 if style == "-" else 1)
                axis.set(title=f"{g.task}: {g.model}", ylim=(0, None))
                axis.set_ylabel("%" if column == 0 else "")
        for axis in axes[-1]:
            axis.set_xlabel("cosine")
        legend_below(figure, *axes[0, 0].get_legend_handles_labels())
        return picture(
            figure, "Distributions of cosines of pairs that belong together and of others, by task and model.",
            "Cosines of pairs that belong together, and of texts taken from different pairs, in percent of each. The "
            "less they overlap, the better a threshold or a ranking tells them apart. Not all of the others are "
            "wrong: two questions of an intent may come from different pairs.")


def _two_figures(models) -> Picture:
    looks = {model[0].model: look for model, look in zip(models[::-1], ((BLUE, "o"), (VERMILION, "s"), (GREY, "^")))}
    with panels(1, 1, 3.6) as (figure, axes):
        axis = axes[0, 0]
        for before, after in zip(models, models[1:]):
            for start, end in zip(before, after):
                axis.annotate("", (end.alignment, end.uniformity), (start.alignment, start.uniformity),
                              arrowprops={"arrowstyle": "->", "color": "#999999", "shrinkA": 5, "shrinkB": 5})
        for model in models:
            colour, marker = looks[model[0].model]
            axis.scatter([g.alignment for g in model], [g.uniformity for g in model], s=42, color=colour,
                         marker=marker, label=model[0].model, zorder=3)
        for g in models[-1]:
            axis.annotate(g.task, (g.alignment, g.uniformity), xytext=(7, -3), textcoords="offset points",
                          fontsize=8.5)
        axis.set(xlabel="alignment: mean squared distance within a pair (less is better)",
                 ylabel="uniformity (less is better)", title="Alignment and uniformity")
        axis.margins(0.12)
        axis.legend()
        return picture(
            figure, "Alignment against uniformity for each task and model.",
            "Less is better on both axes: the texts of a pair close together, and the queries of a task spread over "
            "the sphere (Wang and Isola, 2020). Each pulls against the other: a model that maps all texts to nearly "
            "one vector has an alignment and a uniformity near 0, and is of no use.")


def _table(models) -> Table:
    rows = [[g.task, g.model, f"{g.together.mean():.3f}", f"{g.apart.mean():.3f}", f"{_auc(g):.3f}",
             f"{g.alignment:.3f}", f"{g.uniformity:.3f}"] for task in zip(*models) for g in task]
    return Table(["task", "model", "mean cosine of pairs", "of different pairs", "AUC", "alignment", "uniformity"],
                 rows, "AUC: how often a pair that belongs together has a higher cosine than one that does not.")


def _auc(g: Geometry) -> float:
    is_pair = np.repeat([1, 0], [len(g.together), len(g.apart)])
    return roc_auc_score(is_pair, np.concatenate([g.together, g.apart]))
