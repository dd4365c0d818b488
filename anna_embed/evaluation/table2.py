"""The report's Table 2 against the scores of mteb's results repository, and what its text says of the table."""

import textwrap

import pandas as pd

from anna_embed.evaluation.borda import MEAN_TASK, borda, lead
from anna_embed.evaluation.compare import BENCHMARK, CATEGORIES, FACTS, SNAPSHOT, as_text, overview, public_models

OURS, RIVAL = "LG-ANNA-Embedding", "Seed1.5-Embedding"
TOLERANCE = 0.01 + 1e-9  # of the report's two decimals
ORDINALS = {1: "1st", 2: "2nd", 3: "3rd"}
# Section 5.2 of the report: category, score, place.
PLACES = (("Retrieval", 66.18, 2), ("STS", 86.69, 2), ("PairClassification", 88.67, 2), ("Summarization", 38.93, 1))


def printed() -> pd.DataFrame:
    """Table 2 as the report prints it: models in its order, means in percent."""
    return pd.read_csv(FACTS / "report_table2.csv").set_index("model").rename(index={f"{OURS}(Ours)": OURS})


def agreement() -> pd.DataFrame:
    """By how much each of the 88 cells differs from the scores of the results repository (models, columns)."""
    ours = overview(public_models())[[*CATEGORIES, MEAN_TASK]]
    return (ours.loc[printed().index] - printed()).abs()


def claims(more: pd.DataFrame | None = None) -> list[tuple[bool, str]]:
    """What section 5.2 says of the table, whether the scores bear it out, and the figures.

    Args:
        more (`pd.DataFrame`, *optional*): Further models (`model`, `task`, `main_score`): Borda counts whoever is
            there.
    """
    scores, table = public_models(), printed()
    means = overview(scores)
    found = []
    for category, score, place in PLACES:
        rank = int(means[category].rank(ascending=False, method="min")[OURS])
        found.append((rank == place and abs(means.loc[OURS, category] - score) <= TOLERANCE,
                      f"{category} {score}, {ORDINALS[place]} place: {means.loc[OURS, category]:.2f}, "
                      f"{ORDINALS.get(rank, rank)}."))
    mean, rivals = means.loc[[OURS, RIVAL], MEAN_TASK]
    found.append((mean < rivals, f"A slightly lower mean than {RIVAL}: {mean:.2f} to {rivals:.2f}."))
    order = [model for model in means.index if model != OURS]
    found.append((order == [model for model in table.index if model != OURS],
                  "The models are ordered by Borda rank: over these eleven the order is " + ", ".join(order) + "."))
    return found + [_surpasses(scores, more)]


def _surpasses(scores, more):
    """The claim on which the report's conclusion rests, and why it does or does not hold."""
    everyone = pd.concat([scores, more[["model", "task", "main_score"]]]) if more is not None else scores
    points = borda(everyone).set_index("model")["points"]
    parts, duel = lead(scores, OURS, RIVAL), int(lead(scores, OURS, RIVAL)[RIVAL])
    others, tasks = parts.drop(RIVAL), scores["task"].nunique()
    by_category = {name: borda(rows).set_index("model")["points"] for name, rows in scores.groupby("type")}
    ahead = [f"{name} ({p[OURS]:g} to {p[RIVAL]:g})" for name, p in by_category.items() if p[OURS] > p[RIVAL]]
    best = others.clip(lower=0).sum() + duel  # of all selections of the others, the one that favours it most
    helpful = ", ".join(f"{model} {value:+g}" for model, value in others.items() if value > 0)
    harmful = ", ".join(f"{model} {value:+g}" for model, value in others.items() if value < 0)
    text = (f"It surpasses {RIVAL} in overall Borda ranking: over the {len(points)} models here {points[OURS]:g} "
            f"points to {points[RIVAL]:g}. Of the {tasks} tasks it wins {(tasks + duel) // 2} against {RIVAL} and "
            f"loses {(tasks - duel) // 2} ({duel:+d}); the others of the table add {others.sum():+g} ({helpful}; "
            f"{harmful}). Even the selection of them that favours it most leaves {best:+g}. By category it has more "
            f"points in {' and '.join(ahead)} only. Borda counts every model that is there: over another population, "
            "such as the whole leaderboard, it can be otherwise (--results).")
    return points[OURS] > points[RIVAL], text


def show(more: pd.DataFrame | None = None) -> str:
    """All of it as text."""
    scores, difference = public_models(), agreement()
    model, column = difference.stack().idxmax()
    within = int(difference.le(TOLERANCE).to_numpy().sum())
    lines = [f"{BENCHMARK}, {scores['task'].nunique()} tasks: means in percent, and Borda over the models of the "
             f"report's Table 2.\nScores: {SNAPSHOT}.\n", as_text(overview(scores)), "",
             f"{within} of {difference.size} cells agree with the printed ones within 0.01; they differ most in "
             f"{column} of {model},\nprinted {printed().loc[model, column]:.2f} for "
             f"{overview(scores).loc[model, column]:.4f}.\n\nWhat the report says of the table (section 5.2):\n"]
    lines += [textwrap.fill(text, 116, initial_indent="  holds   " if holds else "  FAILS   ",
                            subsequent_indent=" " * 10, break_on_hyphens=False) for holds, text in claims(more)]
    return "\n".join(lines)
