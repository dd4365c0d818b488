"""What is said before the first step: users decide by it whether to begin."""

import random

import pytest

from anna_embed.training.forecast import steps_to_count, weighted_mean


def test_a_forecast_weighs_each_task_by_its_steps():
    """Three steps of passages among 190 of titles must not be counted as a quarter of the training."""
    tasks = random.Random(0).sample(["titles"] * 190 + ["passages"] * 3 + ["answers"], 194)
    size = {"titles": 3_600, "passages": 57_000, "answers": 30_000}
    numbers, weights = steps_to_count(tasks)
    assert len(set(numbers)) == len(numbers) == 5 and sum(weights) == len(tasks)
    mean = weighted_mean(weights, [size[tasks[number]] for number in numbers])
    assert mean == pytest.approx(sum(size[task] for task in tasks) / len(tasks))
