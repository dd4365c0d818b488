"""The teacher and the miner in pictures, from the scores and triplets artifacts."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from anna_embed.artifacts import read_manifest
from anna_embed.config import MineConfig
from anna_embed.evaluation.report_plots import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, VERMILION, Picture, Section
from anna_embed.evaluation.report_plots import legend_below, number, panels, picture
from anna_embed.schema import SCORES, TEACHERS, TRIPLETS
from anna_embed.tables import read_split

MOST = 2000  # queries of a task that are drawn; which ones depends on the seed alone
CLOUD = 300  # queries whose candidates are drawn as points
SEED = 42
NAMES = {"bm25": "BM25", "dense": "dense cosine", "reranker": "cross-encoder logit", "rrf": "RRF of the three"}
LOOKS = {"bm25": (GREEN, "s"), "dense": (ORANGE, "o"), "reranker": (VERMILION, "^"), "rrf": (PURPLE, "D")}
# What became of a candidate: colour, line style and marker.
GROUPS = {"positive": (BLUE, "-", "o"), "chosen negative": (VERMILION, "-", "^"),
          "left out by the draw": (GREY, "--", "."), "dropped: may be right": (BLACK, ":", "x")}


@dataclass
class Candidates:
    """What became of every candidate of a task.

    Args:
        task (`str`): Its name.
        table (`pd.DataFrame`): One row a candidate: `query`, `group` (of `GROUPS`), the four scores, `limit` (the
            highest score of a negative), `lowest` (that of the query's positives) and `rank` (of a chosen negative
            among those allowed, from 1).
        queries (`int`): Those in `table`.
        of (`int`): Those of the task.
        negatives (`np.ndarray`): Number of negatives of each row of the triplets.
        rule (`dict`): The keys of `MineConfig`.
    """

    task: str
    table: pd.DataFrame
    queries: int
    of: int
    negatives: np.ndarray
    rule: dict


def read_candidates(scores: Path, triplets: Path, task: str, threshold: Callable[[float, float], float]) -> Candidates:
    """Joins what the teacher scored with what the miner took.

    Args:
        scores, triplets (`Path`): The artifacts.
        task (`str`): A task that both have.
        threshold (`Callable`): A positive's score and the margin to the highest score of a negative.
    """
    stated = read_manifest(triplets)["config"]
    rule = {key: stated.get(key, getattr(MineConfig, key)) for key in ("margin", "threshold_from", "score_source",
                                                                       "top_k", "num_negatives")}
    mined = read_split("triplets", str(triplets), task, "train", TRIPLETS).select_columns(["query_id", "negative_ids"])
    chosen: dict[str, set] = {}
    for row in mined:
        chosen.setdefault(row["query_id"], set()).update(row["negative_ids"])
    scored = read_split("scores", str(scores), task, "train", SCORES)
    drawn = sorted(random.Random(SEED).sample(range(len(scored)), min(MOST, len(scored))))
    parts = [_of_query(row, chosen.get(row["query_id"], set()), rule, threshold)
             for row in scored.select(drawn).remove_columns("candidates")]
    negatives = np.asarray([len(row["negative_ids"]) for row in mined])
    return Candidates(task, pd.concat(parts, ignore_index=True), len(drawn), len(scored), negatives, rule)


def _of_query(row, chosen, rule, threshold) -> pd.DataFrame:
    table = pd.DataFrame({name: np.asarray(row[name], np.float64) for name in TEACHERS})
    source, right = table[rule["score_source"]].to_numpy(), np.asarray(row["is_positive"])
    # with its `own` positive each row has a limit of its own: what all of them drop is above the highest
    decisive = source[right].min() if rule["threshold_from"] == "min" else source[right].max()
    limit, taken = threshold(float(decisive), rule["margin"]), np.isin(row["candidate_ids"], sorted(chosen))
    kinds = [right, taken, source > limit]
    names = ["positive", "chosen negative", "dropped: may be right"]
    table["group"] = np.select(kinds, names, "left out by the draw")
    allowed = np.where(right | (source > limit), -np.inf, source)
    table["rank"] = np.where(taken, (allowed[None] > source[:, None]).sum(1) + 1, 0)
    return table.assign(query=row["query_id"], limit=limit, lowest=source[right].min())


def teacher(found: list[Candidates]) -> Section | None:
    """Two pictures a task; None if no task has a teacher."""
    section = Section("Teacher and miner")
    for candidates in found:
        section.parts += [_summary(candidates), _distributions(candidates), _ranks(candidates)]
    return section if found else None


def _summary(c: Candidates) -> str:
    counts, rule = c.table["group"].value_counts(), c.rule
    drawn = f"{number(c.queries)} of its {number(c.of)} queries, drawn at random" if c.queries < c.of else (
        f"all {number(c.of)} queries")
    positives, chosen, left, dropped = (number(int(counts.get(name, 0))) for name in GROUPS)
    return (f"{c.task}: {drawn}, {number(len(c.table))} candidates. Of these {positives} are positives, {chosen} were "
            f"chosen as negatives, {left} were left out by the draw, and {dropped} were dropped as perhaps right. The "
            f"miner drops what scores above {rule['margin']:g} of the positive by {NAMES[rule['score_source']]}, and "
            f"draws {rule['num_negatives']} of the best {rule['top_k']} left.")


def _distributions(c: Candidates) -> Picture:
    with panels(2, 2, 2.4) as (figure, axes):
        for axis, name in zip(axes.flat, TEACHERS):
            scores = c.table[name]
            edges = np.linspace(scores.min(), scores.max() + 1e-9, 41)
            for group, (colour, style, _) in GROUPS.items():
                values = scores[c.table["group"] == group]
                if len(values):
                    share = np.histogram(values, edges)[0] / len(values)
                    axis.stairs(share * 100, edges, color=colour, linestyle=style, linewidth=1.6, label=group,
                                fill=False)
            axis.set(title=NAMES[name], ylabel="% of the group")
            axis.set_ylim(bottom=0)
        legend_below(figure, *axes.flat[0].get_legend_handles_labels())
        return picture(
            figure, f"{c.task}: distributions of the four scores for positives, chosen negatives and others.",
            f"{c.task}: how the teachers score positives, negatives that the miner chose, candidates that it might "
            "have chosen, and those that it dropped because they score too near the positive or above it. Each curve "
            "is in percent of its own group. The further a teacher parts the positives from the rest, the more it has "
            "to teach.")


def _ranks(c: Candidates) -> Picture:
    with panels(1, 3, 3.1) as (figure, axes):
        found, limits, ranks = axes.flat
        _draw_found(found, c)
        _draw_limits(limits, c)
        _draw_chosen(ranks, c)
        return picture(
            figure, f"{c.task}: ranks of the positives by teacher, scores of candidates against the positive's, and "
                    "ranks of the chosen negatives.",
            f"{c.task}. Left: how often a positive is among a teacher's first k candidates; the positive is one of "
            "the candidates even where no retriever found it, and ties count against it; the axis does not begin "
            f"at zero. Middle: each point is a candidate of one of {number(CLOUD)} queries at most; above the line it "
            "is dropped. Right: which places the chosen negatives had among the "
            "candidates left, hardest first.")


def _draw_found(axis, c):
    right = c.table["group"] == "positive"
    most, lowest = int(c.table.groupby("query").size().max()), 90
    for name in TEACHERS:
        best = c.table[right].groupby("query")[name].max()
        beaten = (c.table[name] >= c.table["query"].map(best)) & ~right
        rank = beaten.groupby(c.table["query"]).sum() + 1
        share = [(rank <= k).mean() * 100 for k in range(1, most + 1)]
        lowest = min(lowest, 10 * (share[0] // 10))
        colour, marker = LOOKS[name]
        few = np.unique(np.geomspace(1, most, 12).round().astype(int))
        axis.plot(range(1, most + 1), share, color=colour, label=NAMES[name], marker=marker, markevery=list(few - 1))
    axis.set(title="Where the positives are", xlabel="first k candidates", ylabel="% of queries", ylim=(lowest, 101))
    if most > 30:
        axis.set_xscale("log")
    else:
        axis.xaxis.get_major_locator().set_params(integer=True)
    axis.legend(loc="lower right")


def _draw_limits(axis, c):
    source, cloud = c.rule["score_source"], c.table[c.table["query"].isin(c.table["query"].unique()[:CLOUD])]
    for group in ("left out by the draw", "chosen negative", "dropped: may be right"):
        rows, (colour, _, marker) = cloud[cloud["group"] == group], GROUPS[group]
        axis.scatter(rows["lowest"], rows[source], s=11, color=colour, marker=marker, alpha=0.6, linewidths=0.8,
                     label=group, rasterized=True)
    line = cloud.drop_duplicates("query").sort_values("lowest")
    axis.plot(line["lowest"], line["limit"], color=BLUE, linewidth=1.2, label="highest allowed")
    axis.set(title="What the miner keeps", xlabel=f"positive's {NAMES[source]}", ylabel=f"candidate's {NAMES[source]}")
    handles, labels = axis.get_legend_handles_labels()
    axis.legend(handles, labels, loc="upper left", markerscale=1.8, fontsize=7.5)
    low, high = axis.get_ylim()
    axis.set_ylim(low, high + 0.4 * (high - low))  # room for the legend


def _draw_chosen(axis, c):
    ranks = c.table.loc[c.table["group"] == "chosen negative", "rank"]
    most = int(ranks.max()) if len(ranks) else 1
    edges = np.arange(most + 1) + 0.5 if most <= 30 else np.linspace(0.5, most + 0.5, 31)
    axis.hist(ranks, edges, weights=np.full(len(ranks), 100 / max(len(ranks), 1)), color=VERMILION, rwidth=0.85)
    axis.set(title="How hard the negatives are", xlabel="place among the candidates left", ylabel="% of the chosen")
    axis.xaxis.get_major_locator().set_params(integer=True)
    full = (c.negatives >= c.rule["num_negatives"]).mean()
    axis.text(0.98, 0.97, f"{full:.1%} of the rows have\nall {c.rule['num_negatives']} negatives",
              transform=axis.transAxes, ha="right", va="top", fontsize=8.5)
