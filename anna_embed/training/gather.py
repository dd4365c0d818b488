"""Rows among processes, and sums across them; with one process they are what they were."""

import torch
import torch.distributed as dist


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


def sum_across(tensors: list[torch.Tensor]) -> None:
    """Replaces each tensor by its sum over all processes, in place, as one message per dtype."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return
    for dtype in sorted({t.dtype for t in tensors}, key=str):
        same = [t for t in tensors if t.dtype == dtype]
        flat = torch.cat([t.reshape(-1) for t in same])
        dist.all_reduce(flat)
        for tensor, part in zip(same, flat.split([t.numel() for t in same])):
            tensor.copy_(part.view_as(tensor))
