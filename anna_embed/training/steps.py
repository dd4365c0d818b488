"""The steps of training: what each holds follows from its number, which makes resuming exact."""

import math
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from torch.utils.data import Sampler

from anna_embed.kinds import KINDS
from anna_embed.parsing import RecipeError
from anna_embed.prompts import rows_shown
from anna_embed.training.batch import Batch, build
from anna_embed.training.guide import compare
from anna_embed.training.plan import batches_of


class StepsLeft(Sampler[int]):
    """The numbers of an epoch's steps, none of them beyond `max_steps`, which may lie within an epoch.

    `Trainer` compares with `max_steps` only after a step, so a run that was killed after its last step would train
    one more when it is resumed.

    Args:
        number (`int`): Steps of an epoch.
        trainer ([`~transformers.Trainer`]): Whose `state` counts the steps done.
    """

    def __init__(self, number: int, trainer):
        self.number, self.trainer = number, trainer

    def __len__(self) -> int:
        return self.number

    def __iter__(self) -> Iterator[int]:
        for step in range(self.number):
            if self.trainer.state.global_step >= self.trainer.state.max_steps > 0:
                return
            yield step


class Steps:
    """
    The global batch of every step; while one is trained on, the next is built.

    Args:
        config ([`TrainConfig`]): Batch sizes, mixture, lengths, examples.
        tasks (`dict[str, dict]`): Kind and instruction of each task.
        rows (`dict[str, Dataset]`): Triplets of each task.
        tokenizer: With EOS in its post-processor (`tokens.load_tokenizer`).
        seed (`int`): Order of the rows, and the draws of examples.
        guide (`Callable`, *optional*): From texts to vectors of a frozen model, which compares those of every batch
            but graded pairs.

    Raises:
        [`RecipeError`]: the mixture names a task without rows.
    """

    def __init__(self, config, tasks, rows, tokenizer, seed, guide=None):
        unknown = sorted(set(config.task_weights) - set(rows))
        if unknown:
            raise RecipeError(f"task_weights: there is no task '{unknown[0]}' among the triplets; there are "
                              f"{', '.join(sorted(rows))}.")
        self.config, self.tasks, self.rows, self.tokenizer, self.seed = config, tasks, rows, tokenizer, seed
        self.sizes = {name: len(table) for name, table in rows.items()}
        self.batch_sizes = {name: config.retrieval_batch_size if KINDS[tasks[name]["kind"]].scored
                            else config.other_batch_size for name in rows}
        self.guide = guide
        self.fixed = {}  # of each task the rows that all its queries are shown
        if config.fixed_examples:
            self.fixed = {name: rows_shown(table, name, config.max_examples, seed) for name, table in rows.items()}
        self._epochs = {}  # epoch -> its steps; one epoch at a time
        self._ahead: dict[int, Future] = {}
        self._builder = ThreadPoolExecutor(1, "batch")
        self.per_epoch = len(self.of_epoch(0))

    def of_epoch(self, epoch: int) -> list:
        """Task and row numbers of each step of an epoch."""
        if epoch not in self._epochs:
            self._epochs = {epoch: batches_of(self.sizes, self.batch_sizes, self.seed, epoch,
                                              self.config.task_weights)}
        return self._epochs[epoch]

    def until_the_end(self, arguments) -> int:
        """Steps of the whole training, as transformers counts them."""
        epochs = math.ceil(self.per_epoch * arguments.num_train_epochs)
        return arguments.max_steps if arguments.max_steps > 0 else epochs

    def rows_used(self, steps: int) -> dict[str, np.ndarray]:
        """Numbers of the rows of each task that so many steps train on, ascending."""
        used = defaultdict(list)
        for epoch in range(math.ceil(steps / self.per_epoch)):
            for task, numbers in self.of_epoch(epoch)[: steps - epoch * self.per_epoch]:
                used[task].append(numbers)
        return {task: np.unique(np.concatenate(numbers)) for task, numbers in used.items()}

    def batch(self, step: int, last: bool = False) -> tuple[str, Batch]:
        """Task and global batch of a step, counted from the start of training.

        The next one is built meanwhile, in a thread, but not after the `last`: building switches the tokenizer's
        truncation on and off, and after the last step the tokenizer is saved.
        """
        batch = self._ahead.pop(step, None) or self._builder.submit(self._guided, step)
        self._ahead = {} if last else {step + 1: self._builder.submit(self._guided, step + 1)}
        return batch.result()

    def build(self, step: int) -> tuple[str, Batch]:
        """Task and global batch of a step, before the guide has seen it; not while another thread builds one."""
        epoch, here = divmod(step, self.per_epoch)
        task, numbers = self.of_epoch(epoch)[here]
        rows = self.rows[task].select(numbers).to_list()
        return task, build(rows, self.tasks[task], self.tokenizer, self.config, f"{self.seed}:{step}",
                           self.fixed.get(task))

    def _guided(self, step: int) -> tuple[str, Batch]:
        task, batch = self.build(step)
        if self.guide and not KINDS[self.tasks[task]["kind"]].graded:  # people's judgements are better than its own
            compare(batch, self.guide)
        return task, batch
