"""`EmbeddingTrainer`: soft InfoNCE on packed rows, the same on any number of processes."""

import math
import time
from pathlib import Path

import torch
from accelerate.utils import broadcast_object_list
from torch.utils.data import DataLoader
from transformers import EvalPrediction, Trainer
from transformers.trainer_utils import EvalLoopOutput

from anna_embed.engine import count, embed_row, in_caller_order, plan
from anna_embed.kinds import KINDS
from anna_embed.parsing import RecipeError
from anna_embed.training.check import (
    check_arguments, check_model, check_optimizer, check_schedule, check_tasks, check_trackers)
from anna_embed.training.checkpoints import MARK, MarkComplete, OfThisRun, SaveOnTerm
from anna_embed.training.gather import sum_across
from anna_embed.training.held_out import check_best, tokens_of
from anna_embed.training.norms import fuse_norms
from anna_embed.training.objective import objective
from anna_embed.training.rows import has_dropout, kept_rows, plan_evenly, shares
from anna_embed.training.steps import Steps, StepsLeft

COUNTED = ("tokens", "distinct_tokens", "queries", "seconds")  # summed between log lines; the loss parts are averaged


class EmbeddingTrainer(Trainer):
    """A `transformers.Trainer` whose step is a whole global batch of one task.

    Every process makes the same plan of the batch (its distinct texts, packed into rows that share prefixes), encodes
    its share of the rows without gradients, and learns all vectors. The loss and its gradient with respect to every
    vector are then computed on every process alike; each runs its rows once more with gradients (GradCache,
    arXiv 2101.06983) with the randomness replayed, but for the last ones, whose graphs it has kept
    (`kept_tokens`), and the adapter's gradients are summed. So neither the number of processes nor what is kept can
    change the result beyond rounding, nor, without dropout, the token budget.

    Args:
        config ([`TrainConfig`]): Batch sizes, losses, prompts.
        tasks (`dict[str, dict]`): Kind and instruction of each task.
        rows (`dict[str, Dataset]`): Triplets of each task.
        guide (`Callable`, *optional*): From a list of texts to unit vectors of a frozen model (`guide.py`).
        **kwargs: As for [`~transformers.Trainer`]; `processing_class` from `tokens.load_tokenizer`. `eval_dataset` is
            a list of [`~held_out.Sample`], and `compute_metrics`, which says the `names` of its scores, is given the
            vectors of each side of each of them, and what is right.

    Raises:
        [`RecipeError`]: a setting or the rows do not allow it (`check.py`).
    """

    loss_is_scaled_for_ga = False

    def __init__(self, config, tasks, rows, guide=None, **kwargs):
        check_arguments(kwargs["args"])
        main_process = kwargs["args"].process_index == 0
        check_model(kwargs["model"], config.longest, main_process)
        self.entropies = check_tasks(tasks, rows, kwargs["processing_class"], config, main_process)
        check_trackers(kwargs["args"].report_to)
        super().__init__(train_dataset=[{}], **kwargs)
        check_arguments(self.args)  # accelerate's configuration may have changed them
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            raise RecipeError("distributed_type: FSDP and DEEPSPEED are not possible, as the adapter's gradients are "
                              "summed here; launch with a file of recipes/accelerate.")
        fuse_norms(self.model)
        self.save_on_term = SaveOnTerm()
        self.add_callback(OfThisRun())
        self.add_callback(MarkComplete())
        self.add_callback(self.save_on_term)
        self.config, self.tasks, self.draws = config, tasks, has_dropout(self.model)
        self.steps = Steps(config, tasks, rows, self.processing_class, self.args.seed, guide)
        check_schedule(self.args, self.steps.until_the_end(self.args))
        check_optimizer(self)
        self.parts: list[dict[str, float]] = []
        if self.eval_dataset:
            check_best(self.args, self.compute_metrics.names)
            # Once and for all, and never while `Steps` uses the tokenizer in its thread.
            tokens = tokens_of(self.eval_dataset, self.processing_class, config)
            self.held_out_rows = plan(tokens, config.token_budget, self.model.config)

    def get_train_dataloader(self) -> DataLoader:
        """Step counters only: what a step holds follows from its number (`steps.py`)."""
        numbers = [{"step": n} for n in range(self.steps.per_epoch)]
        return DataLoader(numbers, batch_size=1, sampler=StepsLeft(self.steps.per_epoch, self))

    def rows_of(self, token_lists: list[list[int]]) -> list:
        """The rows of a step, which the processes share evenly; with dropout, whose random numbers depend on the rows,
        the same for any number of processes."""
        config, processes = self.config, 1 if self.draws else self.accelerator.num_processes
        return plan_evenly(token_lists, config.token_budget, config.kept_tokens, self.model.config, processes)

    # ---- one step ---------------------------------------------------------------------------------------------------
    def training_step(self, model, inputs, num_items_in_batch=None) -> torch.Tensor:
        """Embeds this process's rows, gathers all vectors, and sends the loss's gradients back through the rows.

        Rows of `own[:twice]` are run twice, first without gradients; the graphs of the others are kept (`live`).
        """
        started = time.time()
        model = self.accelerator.unwrap_model(model)  # DDP would average gradients; here they are summed, once, below
        model.train()
        task, batch = self.steps.batch(self.state.global_step, self.state.global_step + 1 == self.state.max_steps)
        rows = self.rows_of(batch.tokens)
        sizes = [row.size for row in rows]
        own = shares(sizes, self.accelerator.num_processes)[self.accelerator.process_index]
        twice = len(own) - kept_rows([sizes[number] for number in own], self.config.kept_tokens)
        vectors, live = self._empty(model, rows), {}
        for number in own[:twice]:
            with torch.no_grad():
                vectors[number] = self.embed(model, rows[number], number)
        for number in own[twice:]:
            live[number] = self.embed(model, rows[number], number)
            vectors[number] = live[number].detach().clone()
        sum_across(vectors)  # each row is zero but in the process that ran it: now all have all vectors
        loss, gradients, parts = self._loss(task, batch, vectors, rows)
        for number in own[twice:]:
            live.pop(number).backward(gradients[number])
        for number in own[:twice]:
            self.embed(model, rows[number], number).backward(gradients[number])
        parameters = [p for p in model.parameters() if p.requires_grad]
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        sum_across([p.grad for p in parameters])
        tokens, distinct = count(batch.tokens)
        self.state.num_input_tokens_seen += distinct  # transformers counts its own inputs, which are step numbers
        self.parts.append({**parts, "tokens": tokens, "distinct_tokens": distinct, "queries": len(batch.query),
                           "seconds": time.time() - started})
        return loss

    def embed(self, model, row, number):
        """The vectors of one row, with dropout that depends on seed, step and the row's number only."""
        torch.manual_seed(self.args.seed * 1_000_003 + self.state.global_step * 10_007 + number)
        with self.accelerator.autocast():
            return embed_row(model, row)

    def _empty(self, model, rows):
        size = model.config.get_text_config().hidden_size
        return [torch.zeros(len(row.texts), size, device=self.args.device) for row in rows]

    def _loss(self, task, batch, vectors, rows):
        """Loss, its gradient with respect to each row's vectors, and its parts; the same on every process."""
        leaves = [v.detach().requires_grad_() for v in vectors]
        graded = KINDS[self.tasks[task]["kind"]].graded
        loss, parts = objective(in_caller_order(leaves, rows), batch, graded, self.config)
        if not math.isfinite(loss.item()):
            raise RecipeError(f"learning_rate: {self.args.learning_rate:g} led to a loss of {loss.item()} in step "
                              f"{self.state.global_step + 1} (task '{task}'); lower it, or check the base model.")
        loss.backward()
        return loss.detach(), [leaf.grad for leaf in leaves], parts

    # ---- held-out rows ----------------------------------------------------------------------------------------------
    def get_eval_dataloader(self, eval_dataset=None) -> list:
        """This process's share of the packed rows of all held-out texts, with their numbers."""
        own = shares([row.size for row in self.held_out_rows], self.accelerator.num_processes)
        return [(number, self.held_out_rows[number]) for number in own[self.accelerator.process_index]]

    @torch.no_grad()
    def evaluation_loop(self, dataloader, description, prediction_loss_only=None, ignore_keys=None,
                        metric_key_prefix="eval") -> EvalLoopOutput:
        """Scores the held-out rows without drawing a random number, so that training goes on as if it had not."""
        model = self.accelerator.unwrap_model(self.model).eval()  # each step calls train()
        self.callback_handler.eval_dataloader = dataloader  # for the progress bar
        vectors = self._empty(model, self.held_out_rows)
        for number, row in dataloader:
            with self.accelerator.autocast():
                vectors[number] = embed_row(model, row)
            self.control = self.callback_handler.on_prediction_step(self.args, self.state, self.control)
        sum_across(vectors)
        vectors = in_caller_order(vectors, self.held_out_rows)
        if not vectors.isfinite().all():
            raise RecipeError(f"learning_rate: {self.args.learning_rate:g} led to vectors that are not finite in step "
                              f"{self.state.global_step}; lower it, or check the base model.")
        each = iter(vectors.split([len(side) for sample in self.eval_dataset for side in sample.sides]))
        vectors = [[next(each).cpu().numpy() for _ in sample.sides] for sample in self.eval_dataset]
        right = [sample.right for sample in self.eval_dataset]
        scores = [self.compute_metrics(EvalPrediction(vectors, right))]
        broadcast_object_list(scores)  # clusters may differ in a last digit, and all must keep the same checkpoint
        scores = {f"{metric_key_prefix}_{name}": value for name, value in scores[0].items()}
        return EvalLoopOutput(vectors, right, scores, sum(len(row.texts) for row in self.held_out_rows))

    def _determine_best_metric(self, metrics, trial) -> bool:
        """With `save_strategy: best` this says whether to save, and must not undo what SIGTERM has asked for."""
        return super()._determine_best_metric(metrics, trial) or self.save_on_term.stopped

    def _save_checkpoint(self, model, trial) -> None:
        """A checkpoint that is written anew, with the score of its step, counts as none until it is whole again."""
        if self.is_world_process_zero():
            Path(self.args.output_dir, f"checkpoint-{self.state.global_step}", MARK).unlink(missing_ok=True)
        self.accelerator.wait_for_everyone()
        super()._save_checkpoint(model, trial)

    # ---- what is said -----------------------------------------------------------------------------------------------
    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the parts of the loss, and the speed since the last line (each distinct token counts once)."""
        # They would count step numbers, the only inputs, and batches of held-out rows, which there are not.
        for name in ("train_samples_per_second", "total_flos", "eval_steps_per_second"):
            logs.pop(name, None)
        if self.parts and "loss" in logs:
            for name in sorted({name for part in self.parts for name in part} - set(COUNTED)):
                values = [part[name] for part in self.parts if name in part and math.isfinite(part[name])]
                if values:
                    logs[name] = round(sum(values) / len(values), 4)
            tokens, distinct, queries, seconds = (sum(part[name] for part in self.parts) for name in COUNTED)
            logs |= {"tokens_per_second": round(distinct / seconds, 1), "distinct_share": round(distinct / tokens, 3),
                     "queries_per_second": round(queries / seconds, 2),
                     "distinct_tokens": self.state.num_input_tokens_seen}
            self.parts = []
        super().log(logs, start_time)

    def floating_point_ops(self, inputs) -> int:
        return 0  # the inputs are step counters
