"""What the benchmarks share: runs in turns, memory of a fresh process, the machine's own matrix rate, one JSON line.

Other work on the machine and its clock move all figures; so what is compared takes turns in one run, medians are given
with the lowest and highest run, and a rate is a share of what the machine reached in the same minutes.
"""

import json
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version

import torch

PACKAGES = ("torch", "transformers", "sentence-transformers", "peft")
PRODUCTS = ((2048, 576, 1536), (2048, 1536, 576), (2048, 2048, 2048))  # (m, k, n); SmolLM2's MLP, and a square one


def alternate(runs: dict[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    """
    Lets systems take turns, so that whatever slows the machine down for a while meets all of them.

    Args:
        runs (`dict[str, Callable[[], float]]`): each runs once, warmed up before, and returns its seconds.
        repeats (`int`): rounds; every other one goes backwards, so that nobody always follows the same one.

    Returns:
        `dict[str, list[float]]`: the seconds of each run, in the order they were made.
    """
    seconds = {name: [] for name in runs}
    for number in range(repeats):
        for name in list(runs) if number % 2 == 0 else reversed(runs):
            seconds[name].append(runs[name]())
            print(f"  round {number + 1} of {repeats}: {name} {seconds[name][-1]:.2f} s", flush=True)
    return seconds


def timed(function: Callable, *arguments) -> float:
    """Seconds of one call, until the device has finished."""
    started = time.perf_counter()
    function(*arguments)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def spread(values: list[float]) -> dict[str, float]:
    """Median, lowest and highest, to four significant digits."""
    return {"median": short(statistics.median(values)), "min": short(min(values)), "max": short(max(values))}


def short(value: float) -> float:
    """A figure to four significant digits, as more of them would be noise."""
    return float(f"{value:.4g}")


def in_fresh_process(function: Callable, *arguments):
    """
    Calls a function in a process of its own, where nothing was allocated before.

    Args:
        function (`Callable`): importable by name, as the process is spawned; what it returns must pickle.
        *arguments: must pickle.

    Returns:
        `tuple`: what it returned, and the most memory in bytes that the process ever held, imports included; `None`
        for both if the process was killed, as it is where memory runs out.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_call, args=(sender, torch.get_num_threads(), function, arguments))
    child.start()
    sender.close()  # so that a killed child ends the wait
    try:
        answer = receiver.recv()
    except EOFError:
        answer = None
    child.join()
    if answer is None and child.exitcode > 0:
        raise RuntimeError(f"{function.__name__} failed in its process; what it said stands above.")
    return answer or (None, None)


def _call(sender, threads, function, arguments):
    torch.set_num_threads(threads)
    sender.send((function(*arguments), peak_bytes()))


def peak_bytes() -> int:
    """The most memory this process has ever held, on Linux; unlike `ru_maxrss` it does not begin with the parent's."""
    with open("/proc/self/status", encoding="ascii") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def matrix_rate(dtype: str = "bfloat16", device: str = "cpu", products=PRODUCTS) -> float:
    """
    The floating-point operations a second of this machine's best matrix product: what a step could reach at most.

    Args:
        dtype (`str`, *optional*, defaults to `"bfloat16"`): of the factors.
        device (`str`, *optional*, defaults to `"cpu"`): where.
        products (`Sequence[tuple[int, int, int]]`, *optional*): shapes `(m, k, n)` to try.

    Returns:
        `float`: the best of the medians of 9 products of each shape.
    """
    best = 0.0
    for m, k, n in products:
        left, right = (torch.randn(rows, k, device=device).to(getattr(torch, dtype)) for rows in (m, n))
        seconds = [timed(torch.matmul, left, right.t()) for _ in range(12)][3:]
        best = max(best, 2 * m * k * n / statistics.median(seconds))
    return best


def machine() -> dict:
    """What the figures were taken on, without the machine's name."""
    return {"cpu": _cpu(), "cores": os.cpu_count(), "threads": torch.get_num_threads(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
            "python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def _cpu():
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown")


def report(facts: dict) -> None:
    """The last line of every benchmark: all of it as JSON, with the machine, the command and the commit."""
    print(json.dumps({**facts, "machine": machine(), "command": sys.orig_argv[1:], "commit": _commit()}), flush=True)


def _commit():
    """The commit that was run, with `-dirty` behind it if files differ from it."""
    found = subprocess.run(["git", "describe", "--always", "--dirty", "--abbrev=10"], capture_output=True, text=True)
    return found.stdout.strip() or "no git checkout"
