"""What is said before the first step: users decide by it whether to begin."""

import random

import pytest
import torch
from tiny import trainer

from anna_embed.training.forecast import RUNS, forecast, steps_to_count, weighted_mean


def test_a_forecast_weighs_each_task_by_its_steps():
    """Three steps of passages among 190 of titles must not be counted as a quarter of the training."""
    tasks = random.Random(0).sample(["titles"] * 190 + ["passages"] * 3 + ["answers"], 194)
    size = {"titles": 3_600, "passages": 57_000, "answers": 30_000}
    numbers, weights = steps_to_count(tasks)
    assert len(set(numbers)) == len(numbers) == 5 and sum(weights) == len(tasks)
    mean = weighted_mean(weights, [size[tasks[number]] for number in numbers])
    assert mean == pytest.approx(sum(size[task] for task in tasks) / len(tasks))


def test_parts_of_an_epoch_are_counted_as_transformers_does(tiny_model, tmp_path):
    """If this fails, the number of steps that is promised is not that of the progress bar."""
    made = trainer(tiny_model, tmp_path, arguments={"num_train_epochs": 0.4})
    built, of_steps = [], made.steps.build
    said = forecast(made)["steps"]
    made.steps.build = lambda step: built.append(step) or of_steps(step)
    made.train()
    assert said == made.state.max_steps == made.state.global_step == 5  # of 11
    assert sorted(built) == [*range(5)]  # and none is built after the last, when the tokenizer is saved


@pytest.mark.parametrize("kept_tokens", [0, 100, 10**6])
def test_memory_is_that_of_a_step(tiny_model, tmp_path, kept_tokens):
    """If this fails, the forecast takes more memory than training ever does, and may end for want of it."""
    made = trainer(tiny_model, tmp_path, keys={"token_budget": 64, "kept_tokens": kept_tokens})
    rows, embed = [], made.embed
    made.embed = lambda model, row, number: rows.append(row) or embed(model, row, number)
    forecast(made)
    in_forecast = sum(row.size for row in rows[RUNS:])
    largest, held = max(row.size for row in rows), []
    made.embed = lambda model, row, number: rows.append((row, torch.is_grad_enabled())) or embed(model, row, number)
    for step in range(made.steps.per_epoch):
        made.state.global_step, rows = step, []
        made.training_step(made.model, {})
        first_pass = rows[: len({id(row) for row, _ in rows})]
        held.append(sum(row.size for row, graph in first_pass if graph))
    assert in_forecast <= max(held) + largest and (kept_tokens == 10**6) == (max(held) > 1000)


def test_time_and_memory_are_those_of_training_in_bfloat16(tiny_model, tmp_path):
    """If this fails, the forecast runs peft's float32 way: for SmolLM2-135M 374 tokens/s and 11 GB instead of 538 and
    7, and that memory stays taken."""
    made = trainer(tiny_model, tmp_path, arguments={"bf16": True})
    seen = []
    made.model.register_forward_pre_hook(lambda *_: seen.append(torch.is_autocast_enabled("cpu")))
    layer = next(module for module in made.model.modules() if isinstance(module, torch.nn.Linear))
    layer.register_forward_pre_hook(lambda *_: seen.append(torch.is_autocast_enabled("cpu")))
    forecast(made)
    assert len(seen) > RUNS and all(seen)
