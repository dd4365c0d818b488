"""The rows of a step and the processes that share them."""

import math

from torch import nn

from anna_embed.engine import ROW_COST, plan

UNEVEN = 1.05  # smaller rows are taken if full ones let the busiest process run so many times as much
SLACK = (1.0, 1.05, 1.1, 1.2)  # times an even share: rows end between texts, so that they are rarely full


def plan_evenly(token_lists, budget: float, kept_tokens: int, config, processes: int) -> list:
    """
    Plan the rows of a step so that no process waits long for the others.

    A step of 3,400 tokens is four rows of at most 1,024, which eight processes cannot share, nor two evenly. So
    smaller rows are planned too, and those are taken that let the busiest process be done first.

    Args:
        token_lists (`Sequence[Sequence[int]]`): whole texts.
        budget (`float`): the most tokens in a row.
        kept_tokens (`int`): tokens of the rows of a process that are run once only.
        config ([`~transformers.PreTrainedConfig`]): of the model.
        processes (`int`): how many share the rows; with one this is [`~anna_embed.engine.plan`].

    Returns:
        `list[Row]` or `list[PaddedRows]`: the same on every process.
    """
    full = plan(token_lists, budget, config)
    if processes == 1:
        return full

    def busiest(rows):
        sizes = [row.size for row in rows]
        return max(work([sizes[number] for number in own], kept_tokens) for own in shares(sizes, processes))

    tokens = sum(row.size for row in full)
    if busiest(full) <= UNEVEN * work([row.size for row in full], processes * kept_tokens) / processes:
        return full
    even = tokens / (processes * max(1, math.ceil(tokens / (processes * budget))))
    smaller = [plan(token_lists, max(1, slack * even), config) for slack in SLACK if slack * even < budget]
    best = min([full, *smaller], key=busiest)
    return full if busiest(full) <= UNEVEN * busiest(best) else best


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
        load[least] += sizes[number] + ROW_COST
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


def work(sizes: list[int], kept_tokens: int) -> float:
    """
    What a process has to run in a step, in tokens run forward and backward.

    Args:
        sizes (`list[int]`): Tokens of each of its rows.
        kept_tokens (`int`): As in `kept_rows`. The second forward pass of the others costs a third of both passes.
    """
    twice = sizes[: len(sizes) - kept_rows(sizes, kept_tokens)]
    return sum(sizes) + sum(twice) / 3 + ROW_COST * len(sizes)


def has_dropout(model: nn.Module) -> bool:
    """Whether a forward pass in training mode draws random numbers. Then the rows, which decide what is drawn for
    which token, must not depend on the number of processes. Rates of functions are attributes of the modules that
    call them (`attention_dropout`, `layerdrop`, Mixtral's `jitter_noise`)."""
    rates = [module.p for module in model.modules() if isinstance(module, nn.Dropout)]
    rates += [value for module in model.modules() for name, value in vars(module).items()
              if "drop" in name or "jitter" in name]
    return any(isinstance(rate, (int, float)) and rate > 0 for rate in rates)
