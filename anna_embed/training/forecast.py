"""What training will do, before it does it: counted on some steps of each task, timed on one real row."""

import math
import resource
import sys
import time
from collections import Counter

import torch

from anna_embed.engine import count
from anna_embed.training.rows import kept_rows, shares, work

RUNS = 4  # of one row, to time it
STEPS = 2  # of each task that are built to count tokens: those of titles and of passages differ by a factor of forty


def announce(trainer, guide=None, texts: list[str] = ()) -> None:
    """Prints what training will do, once; with a [`Guide`] how many of these texts it has yet to embed."""
    facts = forecast(trainer)
    if trainer.is_world_process_zero():
        print(f"train: {trainer.accelerator.num_processes} process(es) on {trainer.args.device.type}\n"
              f"{as_text(facts)}", flush=True)
        if guide:
            left = guide.missing(texts)
            print(f"  guide          {left:,} vectors of {len(texts):,} texts to make first", flush=True)


def forecast(trainer) -> dict:
    """
    Counts some steps and runs the largest of their rows forward and backward, without changing the adapter.

    Args:
        trainer ([`EmbeddingTrainer`]): before training.

    Returns:
        `dict`: `steps` and `steps_per_epoch`; `queries_per_step` of each task; per step `tokens`, `distinct_tokens`
        (after sharing) and `rows`; `target_entropy` of each task with soft labels; `tokens_per_second` and `hours`
        (from the largest row of these steps) and `peak_gb` of this process. What a guide embeds is not in them, nor
        the scoring of held-out rows.
    """
    steps, arguments = trainer.steps, trainer.args
    total = steps.until_the_end(arguments)
    built, weights = steps_to_count([task for task, _ in steps.of_epoch(0)[:total]])
    lists = [steps.build(step)[1].tokens for step in built]
    sizes = [count(tokens) for tokens in lists]
    rows = [trainer.rows_of(tokens) for tokens in lists]
    processes, most = trainer.accelerator.num_processes, trainer.config.kept_tokens
    shared = [_shared([row.size for row in step], processes) for step in rows]
    kept = max(sum(own[len(own) - kept_rows(own, most):]) for step in shared for own in step)
    seconds = _seconds(trainer, max((row for step in rows for row in step), key=lambda row: row.size), kept)
    tokens = weighted_mean(weights, [max(work(own, most) for own in step) for step in shared])
    return {"steps": total, "steps_per_epoch": steps.per_epoch, "queries_per_step": steps.batch_sizes,
            "tokens_per_step": round(weighted_mean(weights, [s.tokens for s in sizes])),
            "distinct_tokens_per_step": round(weighted_mean(weights, [s.distinct for s in sizes])),
            "rows_per_step": round(weighted_mean(weights, [len(step) for step in rows]), 1),
            "target_entropy": {name: round(value, 3) for name, value in trainer.entropies.items()},
            "tokens_per_second": round(1 / seconds, 1),
            "hours": round(total * tokens * seconds / 3600, 2),
            "peak_gb": round(_peak(arguments.device), 1)}


def steps_to_count(tasks: list[str]) -> tuple[list[int], list[float]]:
    """Which steps of a plan are built to forecast all of them.

    Args:
        tasks (`list[str]`): The task of each step.

    Returns:
        `tuple[list[int], list[float]]`: numbers of at most `STEPS` steps of each task, spread over its own, and how
        many steps each of them stands for.
    """
    chosen = {}
    for task, steps in Counter(tasks).items():
        numbers = [number for number, name in enumerate(tasks) if name == task]
        few = min(STEPS, steps)
        chosen |= {numbers[steps * n // few]: steps / few for n in range(few)}
    return list(chosen), list(chosen.values())


def weighted_mean(weights: list[float], values: list[float]) -> float:
    """Mean of values that stand for so many each."""
    return sum(weight * value for weight, value in zip(weights, values, strict=True)) / sum(weights)


def _shared(sizes: list[int], processes: int) -> list[list[int]]:
    """Tokens of each row that each process runs."""
    return [[sizes[number] for number in own] for own in shares(sizes, processes)]


def _seconds(trainer, row, kept_tokens: int) -> float:
    """Time of forward and backward for a token of a row: the least of some runs, as the first find no memory ready.
    Then takes as much memory as a step that keeps the graphs of so many tokens."""
    model = trainer.accelerator.unwrap_model(trainer.model).to(trainer.args.device).train()
    if trainer.args.gradient_checkpointing:  # which transformers switches on when training begins, in the same way
        how = dict(trainer.args.gradient_checkpointing_kwargs or {})
        which = {key: how.pop(key) for key in ("every_n_layers", "offload") if key in how}
        model.gradient_checkpointing_enable(how or None, **which)
    seconds = []
    for _ in range(RUNS):
        started = time.perf_counter()
        trainer.embed(model, row, 0).sum().backward()
        if trainer.args.device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    torch.cat([trainer.embed(model, row, 0) for _ in range(math.ceil(kept_tokens / row.size))]).sum().backward()
    model.zero_grad(set_to_none=True)
    return min(seconds) / row.size


def _peak(device: torch.device) -> float:
    """The most memory so far, in GB: of the GPU if there is one, else of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def as_text(facts: dict) -> str:
    """The forecast in a few lines."""
    share = facts["distinct_tokens_per_step"] / facts["tokens_per_step"]
    batches = ", ".join(f"{name} {size}" for name, size in facts["queries_per_step"].items())
    entropy = ", ".join(f"{name} {value}" for name, value in facts["target_entropy"].items()) or "no mined soft labels"
    return (f"  steps          {facts['steps']} ({facts['steps_per_epoch']} an epoch), one task each\n"
            f"  global batch   {batches} (queries)\n"
            f"  tokens a step  {facts['tokens_per_step']}, encoded {facts['distinct_tokens_per_step']} ({share:.0%}) "
            f"in {facts['rows_per_step']} row(s)\n"
            f"  target entropy {entropy} (1 = uniform, teaches nothing)\n"
            f"  estimate       {facts['hours']:.2f} h at {facts['tokens_per_second']:.0f} tokens/s a process, "
            f"{facts['peak_gb']} GB so far")
