"""The benchmarks that try ideas: what differs between variants, and what the scorers' table counts."""

from dataclasses import fields

import numpy as np
import pytest
from trl import ModelConfig

from anna_embed.config import MineConfig, TrainConfig
from anna_embed.parsing import RecipeError
from benchmarks import ablations, scorers


def test_variants_say_what_the_stages_know():
    """A variant would end with an unknown key after those before it had trained for hours."""
    known = {kind: {f.name for f in fields(kind)} for kind in (MineConfig, TrainConfig, ModelConfig)}
    for what, mine, train, beside in ablations.VARIANTS.values():
        assert what and set(mine) <= known[MineConfig]
        assert set(train) - {"seed"} <= known[TrainConfig] | known[ModelConfig]
        assert beside is None or beside in ablations.VARIANTS


def test_one_thing_changes_at_a_time():
    """A difference would be put down to the wrong idea."""
    for name, (_, mine, train, beside) in ablations.VARIANTS.items():
        if beside and name not in ("naive", "margin"):  # those two change what is mined, by one rule
            before = ablations.VARIANTS[beside]
            assert mine == before[1], name
            changed = {key for key in {**train, **before[2]} if train.get(key) != before[2].get(key)}
            assert len(changed - {"teacher_temperature", "lora_alpha", "eval_examples"}) <= 1, name


@pytest.mark.parametrize("kind, keys, sentence", [
    (ablations.Settings, {"variants": ["nothing"]}, "variants: there is no 'nothing'; name some of in_batch"),
    (ablations.Settings, {"steps": 0}, "steps: 0 is not possible"),
    (scorers.Settings, {"depths": []}, r"depths: \[\] is not possible"),
    (scorers.Settings, {"queries": 0}, "queries: 0 is not possible"),
])
def test_settings_that_cannot_be(kind, keys, sentence):
    """An hour would pass before the mistake is seen."""
    with pytest.raises(RecipeError, match=sentence):
        kind(**keys)


def test_recall():
    """Two of three right passages of one query, none of one of the other: one third in the mean."""
    assert scorers.recall(np.array([[4, 2, 9], [7, 5, 1]]), [{2, 9, 8}, {3}]) == pytest.approx(1 / 3)


def test_judged_tasks():
    """Classification rows, of which variants see one in a hundred, would drown what the ideas change."""
    tasks = {"a": {"kind": "retrieval"}, "b": {"kind": "classification"}, "c": {"kind": "sts"}, "d": {"kind": "nli"}}
    assert ablations.trained(tasks) == ["a", "c", "d"]
