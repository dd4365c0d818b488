"""One step of a trainer, timed: the clock that hangs in it, the search for a peer's best mini-batch, and a process of
its own for each system."""

import multiprocessing
import os
import threading
import time
from collections.abc import Callable

import torch
from transformers import PrinterCallback, TrainerCallback


class Clock(TrainerCallback):
    """Times one step from before its batch is fetched until the adapter has changed; keeps loss and gradients.

    `busy` are the processor's seconds: a share of threads times seconds, if nobody else was at work.
    """

    seconds = busy = loss = gradient = None

    def on_epoch_begin(self, args, state, control, **kwargs):
        self.started = time.perf_counter(), time.process_time()

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        if self.gradient is None:  # of all matrices B, as those of A are 0 while B is
            self.gradient = torch.cat([p.grad.float().flatten().cpu() for name, p in model.named_parameters()
                                       if p.requires_grad and "lora_B" in name])

    def on_step_end(self, args, state, control, **kwargs):
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds, self.busy = time.perf_counter() - self.started[0], time.process_time() - self.started[1]

    def on_log(self, args, state, control, logs=None, **kwargs):
        self.loss = logs.get("loss", self.loss)


class Step:
    """
    A trainer that trains one and the same step whenever it is called; the first call warms up.

    Args:
        trainer (`transformers.Trainer`): made with `arguments`.
        use (`Callable`, *optional*): sets the trainer's mini-batch, from one of `candidates`.
        candidates (`list[list[dict]]`, *optional*): mini-batches to try, in lists that begin with the smallest.
    """

    def __init__(self, trainer, use=None, candidates=()):
        self.trainer, self.use, self.candidates, self.clock = trainer, use, candidates, Clock()
        trainer.add_callback(self.clock)
        trainer.remove_callback(PrinterCallback)

    def __call__(self) -> float:
        """Seconds of one step."""
        self.trainer.train()
        return self.clock.seconds


class Alone:
    """
    A step in a process of its own, which waits while others have their turn.

    In one process the memory that one system leaves behind, in pieces, slows the others down.

    Args:
        build (`Callable`): makes the `Step`; importable by name, as the process is spawned.
        *arguments: of it; must pickle.
    """

    def __init__(self, build: Callable, *arguments):
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        process = context.Process(target=_serve, args=(other, torch.get_num_threads(), build, arguments), daemon=True)
        process.start()
        other.close()  # so that a killed process ends the wait
        self.name = build.__name__
        self.answer()  # it is built

    def ask(self, what: str) -> dict:
        """Runs the step: `"count"` for what `counting.count` gives, `"time"` for the figures of its clock."""
        self.connection.send(what)
        return self.answer()

    def answer(self):
        """Waits for what the process sends."""
        try:
            return self.connection.recv()
        except (EOFError, ConnectionError):
            raise RuntimeError(f"The process of {self.name} has ended; what it said stands above.") from None

    def __call__(self) -> float:
        """Seconds of one step."""
        self.clock = self.ask("time")
        return self.clock["seconds"]


def _serve(connection, threads, build, arguments):
    from benchmarks import counting

    threading.Thread(target=_end_with, args=(multiprocessing.parent_process(),), daemon=True).start()
    torch.set_num_threads(threads)
    step = build(*arguments)
    connection.send("built")
    while True:
        try:
            what = connection.recv()
        except EOFError:
            return
        if what == "count":
            connection.send(counting.count(step, step.trainer.model))
        else:
            step()
            clock = step.clock
            connection.send({"seconds": clock.seconds, "busy": clock.busy, "loss": clock.loss,
                             "gradient": clock.gradient.numpy()})


def _end_with(parent):
    """A step takes minutes: who kills the benchmark in the midst of one would find the machine busy for as long."""
    parent.join()
    os._exit(1)


def fastest(step: Step) -> tuple[dict, dict[str, float]]:
    """
    A short search for a peer's best mini-batch: each list of candidates from its smallest on, until two in a row are
    slower than the best of it.

    Args:
        step (`Step`): that has candidates.

    Returns:
        `tuple`: the best candidate, and the seconds of each that was tried.
    """
    step.use(step.candidates[0][0])
    step()
    seconds, best = {}, None
    for candidates in step.candidates:
        slower, lowest = 0, float("inf")
        for candidate in candidates:
            step.use(candidate)
            taken = seconds[", ".join(f"{k} {v}" for k, v in candidate.items())] = step()
            if best is None or taken < best[0]:
                best = taken, candidate
            slower, lowest = (0, taken) if taken < lowest else (slower + 1, lowest)
            if slower == 2:
                break
    return best[1], {name: round(taken, 2) for name, taken in seconds.items()}
