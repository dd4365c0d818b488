"""Whether bfloat16 is worth its digits on this machine: a CPU without instructions for it is many times slower."""

import time
from functools import cache

import torch


@cache
def bfloat16_speedup(dim: int = 512) -> float:
    """How many times as fast this CPU multiplies matrices of bfloat16 as of float32: measured on a small product.

    Seen: 2 to 4 where there are instructions for bfloat16, 0.16 on a CPU with AVX2 alone.

    Args:
        dim (`int`, *optional*, defaults to 512): Length of the vectors that are multiplied.
    """
    seconds = []
    for dtype in (torch.float32, torch.bfloat16):
        left, right = (torch.ones(rows, dim, dtype=dtype) for rows in (512, 4096))
        for _ in range(2):  # the second counts
            started = time.perf_counter()
            torch.mm(left, right.T)
            last = time.perf_counter() - started
        seconds.append(last)
    return seconds[0] / seconds[1]


def on_slow_cpu() -> bool:
    """Whether models run on a CPU that is faster at float32 than at bfloat16."""
    return not torch.accelerator.is_available() and bfloat16_speedup() < 1


def note_if_slow(dtype: str, remedy: str) -> None:
    """Says before hours are lost that bfloat16 is the slower type here.

    Args:
        dtype (`str`): What the stage was asked for.
        remedy (`str`): The arguments that ask for float32.
    """
    if dtype == "bfloat16" and on_slow_cpu():
        print(f"note: this CPU multiplies bfloat16 at {bfloat16_speedup():.2f} times the speed of float32; "
              f"{remedy} is faster here", flush=True)
