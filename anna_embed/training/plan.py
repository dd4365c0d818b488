"""Which rows make which step: a pure function of seed, epoch and step, whatever the number of processes."""

import math

import numpy as np


def batches_of(sizes: dict[str, int], batch_sizes: dict[str, int], seed: int, epoch: int,
               weights: dict[str, float] | None = None) -> list[tuple[str, np.ndarray]]:
    """All steps of one epoch: one task per step, its rows shuffled and cut, the steps of all tasks shuffled.

    Args:
        sizes (`dict[str, int]`): Rows of each task.
        batch_sizes (`dict[str, int]`): Global batch of each task in queries.
        seed, epoch (`int`): Determine everything.
        weights (`dict[str, float]`, *optional*): How often an epoch passes over the rows of a task; 1 for those that
            are not named. A weight of 0.25 takes a quarter of the rows, drawn anew in every epoch.

    Returns:
        `list[tuple[str, np.ndarray]]`: task and row numbers of each step; every row occurs as often as its task's
        weight says, never twice in one pass. A last batch of a single row is joined to the one before, because it
        would have no in-batch negatives.
    """
    steps = []
    for number, (task, size) in enumerate(sorted(sizes.items())):
        rng, weight = np.random.default_rng([seed, epoch, number]), (weights or {}).get(task, 1.0)
        passes = [rng.permutation(size) for _ in range(math.ceil(weight))]
        order = np.concatenate(passes)[: max(1, round(weight * size))]
        starts = list(range(0, len(order), batch_sizes[task]))
        if len(starts) > 1 and len(order) - starts[-1] == 1:
            starts.pop()
        steps += [(task, rows) for rows in np.split(order, starts[1:])]
    shuffled = np.random.default_rng([seed, epoch, len(sizes)]).permutation(len(steps))
    return [steps[i] for i in shuffled]
