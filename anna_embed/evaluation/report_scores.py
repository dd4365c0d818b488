"""Scores in pictures: held-out rows beside base and teachers, mteb's tasks beside public models."""

import math
from itertools import cycle

import numpy as np
import pandas as pd

from anna_embed.artifacts import OWN
from anna_embed.evaluation.borda import MEAN_TASK, averages, scores_by_task
from anna_embed.evaluation.compare import BENCHMARK, CATEGORIES, SNAPSHOT, beside_public, overview, task_types
from anna_embed.evaluation.report_plots import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILION, Picture
from anna_embed.evaluation.report_plots import Section, Table, legend_below, number, panels, picture
from anna_embed.evaluation.show import METRICS

COLOURS = {OWN: BLUE, "base model": GREY, "dense teacher": ORANGE, "BM25": GREEN, "RRF (BM25 + dense)": PURPLE,
           "reranker": VERMILION}
# Seven shapes against six colours: 42 models before a look comes again.
SHAPES, PAINTS = "Ds^vPX*", (BLUE, ORANGE, VERMILION, PURPLE, GREEN, SKY)


def scores(table: list[dict], of_mteb: set[str] = frozenset(), more: pd.DataFrame | None = None) -> Section:
    """The section.

    Args:
        table (`list[dict]`): The results: `model`, `task`, `metric`, `value`, `n` and perhaps `note`.
        of_mteb (`set[str]`): Those of its tasks that mteb ran; of the benchmark or not.
        more (`pd.DataFrame`, *optional*): Further models on mteb's tasks, from `compare.read_scores`.
    """
    rows = pd.DataFrame(table)
    known = rows["task"].isin(task_types())
    note = rows["note"].notna() if "note" in rows else pd.Series(False, rows.index)
    held_out = ~known & ~rows["task"].isin(of_mteb) & (rows["metric"] != "mean")
    section = Section("Scores")
    if held_out.any():
        section.parts += [_bars(rows[held_out]), _rows_table(rows[held_out])]
    rows["type"] = rows["task"].map(task_types())
    ours = rows[known & ~note].rename(columns={"value": "main_score"})[["model", "task", "type", "main_score"]]
    given = pd.concat([ours, *([more] if more is not None else [])], ignore_index=True)
    everyone = beside_public(given) if len(given) else given
    if len(everyone):
        section.parts += _beside_public(everyone, list(dict.fromkeys(given["model"])))
    elif len(given):
        section.parts.append(f"The models share no task of {BENCHMARK} that was scored on mteb's own data, so there "
                             "is nothing to set side by side.")
    else:
        section.parts.append(f"No task of {BENCHMARK} was scored on mteb's own data, so there is nothing to set "
                             "beside public models; the benchmark stage runs such tasks (--tasks, --panel, "
                             "--benchmark).")
    alone = known & ~note & ~rows["task"].isin(set(everyone["task"]))
    if alone.any():
        section.parts += [f"Tasks of {BENCHMARK} that not every model has:", _rows_table(rows[alone])]
    if (known & note).any():
        section.parts += ["Scores on data that is not mteb's, or was not checked, compare with no others:",
                          _rows_table(rows[known & note])]
    if (others := ~known & ~held_out).any():
        section.parts += [f"Tasks of mteb that are not in {BENCHMARK}, and means:", _rows_table(rows[others])]
    return section


def interval(metric: str, value: float, n: int) -> tuple[float, float] | None:
    """95 % interval of a score over `n` rows drawn at random: Wilson's for shares of rows, Fisher's for correlations;
    None for metrics that are no such thing."""
    if metric in ("accuracy", "triplet_accuracy"):
        z = 1.96
        centre, half = value + z * z / (2 * n), z * math.sqrt(value * (1 - value) / n + z * z / (4 * n * n))
        return (centre - half) / (1 + z * z / n), (centre + half) / (1 + z * z / n)
    if metric in ("spearman", "cosine_spearman") and n > 3 and abs(value) < 1:
        half = 1.96 * math.sqrt((1 + value * value / 2) / (n - 3))  # Bonett and Wright's error for Spearman's rank
        return math.tanh(math.atanh(value) - half), math.tanh(math.atanh(value) + half)
    return None


def _bars(rows: pd.DataFrame) -> Picture:
    groups = list(rows.groupby(["task", "metric", "n"], sort=False))
    columns = min(2, len(groups))
    tallest = [max(len(group) for _, group in groups[n: n + columns]) for n in range(0, len(groups), columns)]
    heights = [0.9 + 0.27 * bars for bars in tallest]
    with panels(len(heights), columns, sum(heights) / len(heights), height_ratios=heights) as (figure, axes):
        for place_of, (axis, ((task, metric, n), group)) in enumerate(zip(axes.flat, groups)):
            group = group.sort_values("value")
            places = np.arange(len(group))
            axis.barh(places, group["value"], color=[COLOURS.get(model, SKY) for model in group["model"]], height=0.66)
            for place, value in zip(places, group["value"]):
                bounds = interval(metric, value, n)
                if bounds:
                    axis.plot(bounds, (place, place), color=BLACK, linewidth=1, marker="|", markersize=5)
                axis.text(1.02, place, f"{value:.3f}", va="center", fontsize=8.5, clip_on=False,
                          transform=axis.get_yaxis_transform())
            axis.set_yticks(places, group["model"])
            for label in axis.get_yticklabels():
                label.set_fontweight("bold" if label.get_text() == OWN else "normal")
            axis.set(xlim=(min(0, group["value"].min()), 1), ylim=(-0.6, tallest[place_of // columns] - 0.4))
            axis.set_title(f"{task}\n", fontsize=9.5)
            axis.text(0, 1.02, f"{METRICS.get(metric, metric)}, n = {n:,}", transform=axis.transAxes, fontsize=8.5)
            axis.grid(axis="y", visible=False)
        for axis in axes.flat[len(groups):]:
            axis.set_axis_off()
        return picture(
            figure, "Scores on held-out rows, one panel a task, one bar a model.",
            "Scores on rows held out from training. Lines across the bars are 95 % intervals for so many rows (shares "
            "of rows by Wilson's formula, correlations by Fisher's transformation); the other metrics have none here. "
            "The intervals do not count that training again with another seed would give another model.")


def _rows_table(rows: pd.DataFrame) -> Table:
    models = list(dict.fromkeys(rows["model"]))
    lines = []
    for (task, metric, n), group in rows.groupby(["task", "metric", "n"], sort=False):
        values = dict(zip(group["model"], group["value"]))
        lines.append([task, METRICS.get(metric, metric), number(int(n)),
                      *(f"{values[m]:.4f}" if m in values else "" for m in models)])
        if "note" in rows:
            lines[-1].append("; ".join(dict.fromkeys(group["note"].dropna())))
    if not any(line[-1] for line in lines if "note" in rows):
        return Table(["task", "metric", "n", *models], [line[: 3 + len(models)] for line in lines])
    return Table(["task", "metric", "n", *models, "note"], lines)


def _beside_public(everyone, given) -> list[Picture | Table | str]:
    means = averages(everyone).mul(100)
    categories = [c for c in CATEGORIES if c in means] + [MEAN_TASK]
    counts = everyone.drop_duplicates("task")["type"].value_counts()
    tasks = everyone["task"].nunique()
    text = (f"{BENCHMARK}: {tasks} of its {len(task_types())} tasks; each mean is over the tasks that all models "
            f"given were scored on, for the public models as well. Public scores: {SNAPSHOT}.")
    table = overview(everyone)
    lines = [[model, f"{row['rank']:.0f}", f"{row['points']:g}", *(f"{v:.2f}" for v in row.iloc[2:])]
             for model, row in table.iterrows()]
    header = ["model", "Borda rank", "points", *table.columns[2:]]
    return [text, _strip(means, categories, counts, given), Table(header, lines, "Borda over the models above."),
            _by_task(everyone, given)]


def _by_task(everyone, given) -> Table:
    scores = scores_by_task(everyone).mul(100)
    public, kinds = scores.drop(index=given), everyone.drop_duplicates("task").set_index("task")["type"]
    tasks = sorted(scores.columns, key=lambda task: (CATEGORIES.index(kinds[task]), task))
    rows = [[task, kinds[task], *(f"{scores.loc[model, task]:.2f}" for model in given), f"{public[task].min():.2f}",
             f"{public[task].median():.2f}", f"{public[task].max():.2f}"] for task in tasks]
    return Table(["task", "category", *given, "public: lowest", "median", "highest"], rows, "Main scores, in percent.")


def _strip(means, categories, counts, given) -> Picture:
    places = {c: -n for n, c in enumerate(categories)}
    public = means.drop(index=given)
    with panels(1, 1, 0.9 + 0.42 * len(categories)) as (figure, axes):
        axis = axes[0, 0]
        for category in categories:
            values = public[category]
            axis.plot((values.min(), values.max()), (places[category],) * 2, color="#CCCCCC", linewidth=6, zorder=1,
                      solid_capstyle="round")
            axis.scatter(values, [places[category]] * len(values), s=22, facecolor="white", edgecolor="#555555",
                         zorder=2, label="public models" if category == MEAN_TASK else None)
        for model, marker, colour in zip(given, cycle(SHAPES), cycle(PAINTS)):
            axis.scatter(means.loc[model, categories], list(places.values()), s=64, marker=marker,
                         color=COLOURS.get(model, colour), zorder=3, edgecolor="white", linewidth=0.7, label=model)
        names = [f"{c} ({counts[c]})" if c in counts else "mean over tasks" for c in categories]
        axis.set_yticks(list(places.values()), names)
        axis.set(xlabel="mean of the main scores, %", ylim=(-len(categories) + 0.4, 0.6))
        axis.grid(axis="y", visible=False)
        legend_below(figure, *axis.get_legend_handles_labels())
        return picture(
            figure, "Means by category of the models of this release beside public models.",
            "Means by category; in brackets the number of tasks. The axis does not begin at zero.")
