"""The report's Table 2: what is shipped as facts, what holds of it, and the command that says so."""

import configparser
from itertools import combinations
from pathlib import Path

import pandas as pd
import pytest

import anna_embed
from anna_embed.__main__ import main
from anna_embed.evaluation.borda import borda
from anna_embed.evaluation.compare import public_models, task_types
from anna_embed.evaluation.table2 import OURS, RIVAL, TOLERANCE, agreement, claims, printed

# Points and order of mteb's own code (2.26.24) on these scores.
POINTS = {"Seed1.5-Embedding": 331, "LG-ANNA-Embedding": 314, "gemini-embedding-001": 266,
          "jasper_en_vision_language_v1": 216, "SFR-Embedding-Mistral": 179, "NV-Embed-v2": 176,
          "gte-Qwen2-7B-instruct": 172, "Linq-Embed-Mistral": 168, "text-embedding-005": 158,
          "text-embedding-004": 153, "e5-mistral-7b-instruct": 122}


def test_the_facts_are_whole():
    """A model without one of the 41 tasks has no mean, and Borda gives it nothing for it."""
    facts = public_models()
    assert facts["model"].nunique() == 11 and len(task_types()) == 41
    assert facts.groupby("model")["task"].apply(set).map(lambda tasks: tasks == set(task_types())).all()
    assert facts["main_score"].between(0, 1).all() and len(facts) == 451


def test_the_facts_are_packaged():
    """Installed other than in place, the commands and the report would find neither facts nor template."""
    stated = configparser.ConfigParser()
    stated.read(Path(anna_embed.__file__).parents[1] / "setup.cfg")
    folder = Path(anna_embed.__file__).parent / "evaluation"
    patterns = [p.strip() for p in stated["options.package_data"]["anna_embed.evaluation"].split(",")]
    found = {file for pattern in patterns for file in folder.glob(pattern)}
    there = {file for file in folder.rglob("*") if file.suffix in (".csv", ".html")}
    there |= {file for file in (folder / "modules").rglob("*") if file.suffix in (".py", ".md")}
    assert found == there and len(there) >= 4


def test_all_88_cells():
    """The scores of the results repository give the printed means."""
    assert agreement().shape == (11, 8)
    assert (agreement() <= TOLERANCE).all().all() and agreement().max().max() == pytest.approx(0.005, abs=1e-4)
    assert (public_models().groupby("model")["main_score"].mean().mul(100).round(2).loc[printed().index]
            == printed()["Mean (Task)"]).all()


def test_points_over_the_eleven():
    """The order that the table's caption speaks of is not that of its own models."""
    assert borda(public_models()).set_index("model")["points"].to_dict() == POINTS


def test_where_the_report_holds():
    """Its places and means do; its Borda order and its lead over Seed1.5 do not."""
    holds = [good for good, _ in claims()]
    assert holds == [True] * 5 + [False] * 2
    text = claims()[-1][1]
    assert "over the 11 models here 314 points to 331" in text
    assert "wins 16 against" in text and "loses 25 (-9)" in text
    assert "PairClassification (26 to 11) and Summarization (10 to 5) only" in text


def test_no_selection_of_the_table_bears_the_lead_out():
    """What the text says of the best selection, by trying all 512 of them."""
    scores = public_models().pivot(index="model", columns="task", values="main_score")
    leads = []
    for number in range(10):
        for others in combinations([m for m in scores.index if m not in (OURS, RIVAL)], number):
            some = scores.loc[[OURS, RIVAL, *others]]
            points = (len(some) - some.rank(ascending=False)).sum(axis=1)
            leads.append(points[OURS] - points[RIVAL])
    assert len(leads) == 512 and max(leads) == -3 and "favours it most leaves -3" in claims()[-1][1]


def test_another_population_can_turn_it():
    """Borda counts who is there: models that our side beats where Seed1.5 does not give it the lead."""
    ours, rival = (public_models()[lambda t: t["model"] == name].set_index("task")["main_score"]
                   for name in (OURS, RIVAL))
    between = (ours + rival) / 2
    tasks = ours.index[ours > rival]
    more = pd.DataFrame([{"model": f"other{n}", "task": task, "main_score": between[task]} for n in range(3)
                         for task in tasks])
    holds, text = claims(more)[-1]
    assert holds and "over the 14 models here" in text


def test_the_command(capsys):
    """`python -m anna_embed table2`."""
    main(["table2"])
    said = capsys.readouterr().out
    assert "88 of 88 cells agree with the printed ones within 0.01" in said
    assert said.count("  holds   ") == 5 and said.count("  FAILS   ") == 2 and "331" in said
    assert max(map(len, said.splitlines())) <= 122
