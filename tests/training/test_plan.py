"""The plan of an epoch: every row once, and nothing but seed and epoch decides."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anna_embed.training.plan import batches_of

SIZES = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 60), min_size=1)


@settings(max_examples=60, deadline=None)
@given(SIZES, st.integers(2, 17), st.integers(0, 2**31), st.integers(0, 5))
def test_every_row_once_per_epoch(sizes, batch, seed, epoch):
    """A row that is skipped or repeated makes "one epoch" untrue; one task per step keeps in-batch negatives alike."""
    steps = batches_of(sizes, dict.fromkeys(sizes, batch), seed, epoch)
    for task, size in sizes.items():
        mine = [rows for name, rows in steps if name == task]
        assert sorted(np.concatenate(mine).tolist()) == list(range(size))
        assert all(len(rows) <= batch + 1 for rows in mine)  # a last single row joins the batch before it
        assert size == 1 or all(len(rows) > 1 for rows in mine)


@settings(max_examples=30, deadline=None)
@given(SIZES, st.integers(2, 17), st.integers(0, 2**31), st.integers(0, 5))
def test_a_function_of_seed_and_epoch(sizes, batch, seed, epoch):
    """Resuming, and every process for itself, make the same plan; the order of the tasks' names does not matter."""
    first = batches_of(sizes, dict.fromkeys(sizes, batch), seed, epoch)
    again = batches_of(dict(reversed(sizes.items())), dict.fromkeys(sizes, batch), seed, epoch)
    assert [(task, rows.tolist()) for task, rows in first] == [(task, rows.tolist()) for task, rows in again]


@settings(max_examples=60, deadline=None)
@given(SIZES, st.floats(0.05, 4), st.integers(0, 5))
def test_weights_decide_how_often_a_row_is_seen(sizes, weight, epoch):
    """The mixture is what the recipe says: no row twice before all were seen once, other tasks as they were."""
    weights = {min(sizes): weight}
    steps = batches_of(sizes, dict.fromkeys(sizes, 5), 1, epoch, weights)
    for task, size in sizes.items():
        times = np.bincount(np.concatenate([rows for name, rows in steps if name == task]), minlength=size)
        assert times.sum() == max(1, round(weights.get(task, 1) * size))
        assert times.max() - times.min() <= 1


def test_epochs_and_seeds_differ_but_not_in_length():
    """Epochs must mix anew; the learning rate's schedule needs them equally long."""
    plans = [batches_of({"a": 50, "b": 31}, {"a": 8, "b": 4}, seed, epoch) for seed, epoch in ((1, 0), (1, 1), (2, 0))]
    assert len({len(plan) for plan in plans}) == 1
    orders = [tuple(tuple(rows.tolist()) for _, rows in plan) for plan in plans]
    assert len(set(orders)) == 3


def test_tasks_are_mixed():
    """Steps of all tasks are shuffled together, or the last task of the list would be learnt best."""
    tasks = [task for task, _ in batches_of({"a": 80, "b": 80}, {"a": 8, "b": 8}, 0, 0)]
    assert tasks.index("b") < 6 and "a" in tasks[10:]


@pytest.mark.parametrize("size, expected", [(1, [1]), (8, [8]), (9, [9]), (10, [8, 2]), (17, [8, 9])])
def test_last_batches(size, expected):
    """No step of a single query, which would have nothing to be told apart from."""
    steps = batches_of({"a": size}, {"a": 8}, 0, 0)
    assert sorted(len(rows) for _, rows in steps) == sorted(expected)
