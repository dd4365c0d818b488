"""Whether bfloat16 is worth its digits on this machine: a CPU without instructions for it is many times slower."""

import sys
import time
from functools import cache

import torch

from anna_embed.parsing import RecipeError

RUNS = 5  # of each type in turns; the fastest counts, so that other work on the machine does not


@cache
def bfloat16_speedup(dim: int = 512) -> float:
    """How many times as fast this CPU multiplies matrices of bfloat16 as of float32: measured on small products.

    Seen: 2 to 4 where there are instructions for bfloat16, 0.16 on a CPU with AVX2 alone.

    Args:
        dim (`int`, *optional*, defaults to 512): Length of the vectors that are multiplied.
    """
    factors = {dtype: [torch.ones(rows, dim, dtype=dtype) for rows in (256, 2048)]
               for dtype in (torch.float32, torch.bfloat16)}
    seconds = {dtype: [] for dtype in factors}
    for _ in range(RUNS):
        for dtype, (left, right) in factors.items():
            started = time.perf_counter()
            torch.mm(left, right.T)
            seconds[dtype].append(time.perf_counter() - started)
    return min(seconds[torch.float32]) / min(seconds[torch.bfloat16])


def is_slow(dtype: str, device: str) -> bool:
    """Whether a model computes in bfloat16 on a CPU that is faster at float32.

    Args:
        dtype (`str`): What the model computes in.
        device (`str`): Where, for example `cpu` or `cuda:1`.
    """
    return dtype == "bfloat16" and device == "cpu" and bfloat16_speedup() < 1


def fastest_device() -> str:
    """Where models run unless somebody says otherwise."""
    return str(torch.accelerator.current_accelerator() or "cpu") if torch.accelerator.is_available() else "cpu"


def check_device(device: str) -> None:
    """Raises [`RecipeError`] if this machine has no such device."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError):  # torch was built without it
        raise RecipeError(f"device: this machine has no '{device}'; write cpu or cuda:0, or leave it out for the "
                          "fastest there is.") from None


def note_if_slow(dtype: str, device: str, remedy: str) -> None:
    """Says on standard error, before hours are lost, that bfloat16 is the slower type here.

    Args:
        dtype (`str`), device (`str`): As for [`is_slow`].
        remedy (`str`): The arguments that ask for float32.
    """
    if is_slow(dtype, device):
        print(f"note: this CPU multiplies bfloat16 at {bfloat16_speedup():.2f} times the speed of float32; give "
              f"{remedy}", file=sys.stderr, flush=True)
