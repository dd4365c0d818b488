"""Which rows make which step: a pure function of seed, epoch and step, whatever the number of processes."""

import numpy as np


def batches_of(sizes: dict[str, int], batch_sizes: dict[str, int], seed: int,
               epoch: int) -> list[tuple[str, np.ndarray]]:
    """All steps of one epoch: one task per step, its rows shuffled and cut, the steps of all tasks shuffled.

    Args:
        sizes (`dict[str, int]`): Rows of each task.
        batch_sizes (`dict[str, int]`): Global batch of each task in queries.
        seed, epoch (`int`): Determine everything.

    Returns:
        `list[tuple[str, np.ndarray]]`: task and row numbers of each step; every row occurs exactly once. A last batch
        of a single row is joined to the one before, because it would have no negatives in the batch.
    """
    steps = []
    for number, (task, size) in enumerate(sorted(sizes.items())):
        order = np.random.default_rng([seed, epoch, number]).permutation(size)
        starts = list(range(0, size, batch_sizes[task]))
        if len(starts) > 1 and size - starts[-1] == 1:
            starts.pop()
        steps += [(task, rows) for rows in np.split(order, starts[1:])]
    shuffled = np.random.default_rng([seed, epoch, len(sizes)]).permutation(len(steps))
    return [steps[i] for i in shuffled]
