"""The rows of a step and the processes that share them."""

import math

from torch import nn

from anna_embed.engine import plan
from anna_embed.engine.packing import ROW_COST

UNEVEN = 1.05  # times the mean that the busiest process may have to run before smaller rows are looked for
SLACK = (1.0, 1.05, 1.1, 1.2)  # times an even share: rows end between texts, so that they are rarely full


def plan_evenly(token_lists, budget: float, config, processes: int) -> list:
    """
    Plan the rows of a step so that no process waits long for the others.

    A step of 3,400 tokens is four rows of 1,024, which eight processes cannot share, nor two evenly. So smaller rows
    are planned too, and those are taken that let the busiest process be done first.

    Args:
        token_lists (`Sequence[Sequence[int]]`): whole texts.
        budget (`float`): the most tokens in a row.
        config ([`~transformers.PreTrainedConfig`]): of the model.
        processes (`int`): how many share the rows; with one this is [`~anna_embed.engine.plan`].

    Returns:
        `list[Row]` or `list[PaddedRows]`: the same on every process.
    """
    rows = plan(token_lists, budget, config)
    tokens = sum(row.size for row in rows)
    if _busiest(rows, processes) <= UNEVEN * (tokens + ROW_COST * len(rows)) / processes:
        return rows
    even = tokens / (processes * math.ceil(tokens / (processes * budget)))
    smaller = [plan(token_lists, math.ceil(slack * even), config) for slack in SLACK if slack * even < budget]
    return min([rows, *smaller], key=lambda rows: _busiest(rows, processes))


def _busiest(rows, processes: int) -> int:
    """What the process with the most to do runs, in tokens; a row more costs some, too."""
    costs = [row.size + ROW_COST for row in rows]
    return max(sum(costs[number] for number in own) for own in shares(costs, processes))


def has_dropout(model: nn.Module) -> bool:
    """Whether a forward pass in training mode draws random numbers. Then its rows must not depend on the number of
    processes: they decide what is drawn for which token."""
    layers = any(isinstance(module, nn.Dropout) and module.p > 0 for module in model.modules())
    return layers or any("dropout" in key and value for key, value in model.config.to_dict().items())


def shares(sizes: list[int], processes: int) -> list[list[int]]:
    """
    Which rows each process runs: the largest first, each to the process that has the least so far.

    Args:
        sizes (`list[int]`): Tokens of each row.
        processes (`int`): How many share them.

    Returns:
        `list[list[int]]`: for each process the numbers of its rows, ascending.
    """
    rows, load = [[] for _ in range(processes)], [0] * processes
    for number in sorted(range(len(sizes)), key=lambda number: -sizes[number]):
        least = load.index(min(load))
        rows[least].append(number)
        load[least] += sizes[number]
    return [sorted(numbers) for numbers in rows]


def kept_rows(sizes: list[int], tokens: int) -> int:
    """
    How many of a process's last rows keep their graph between the passes, so that they are run once only.

    Args:
        sizes (`list[int]`): Tokens of each of its rows.
        tokens (`int`): The most that the kept rows may hold together; the last one is kept however long it is.
    """
    kept, held = 0, 0
    for size in reversed(sizes):
        held += size
        if kept and held > tokens:
            break
        kept += 1
    return kept
