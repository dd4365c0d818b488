"""A trainer on the tiny model, in this process or in several; what the tests of the trainer are made of."""

import multiprocessing
import os
import signal
import socket
from pathlib import Path

import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from small import TASKS, triplet_rows
from transformers import AutoModel, TrainingArguments

from anna_embed.config import TrainConfig
from anna_embed.evaluation.in_training import HeldOutScores
from anna_embed.located import locate
from anna_embed.schema import TRIPLETS
from anna_embed.teacher.guide_vectors import Guide, texts_of
from anna_embed.teacher.shards import Processes
from anna_embed.tokens import load_tokenizer
from anna_embed.training.lora import fuse_lora
from anna_embed.training.trainer import EmbeddingTrainer

KEYS = {"artifacts": "unused", "retrieval_batch_size": 6, "other_batch_size": 4, "num_negatives": 3,
        "temperature": 0.1, "max_length": 128, "max_examples": 2, "example_group_size": 3, "prompt_max_length": 320,
        "token_budget": 180}
ARGUMENTS = {"use_cpu": True, "learning_rate": 1e-2, "report_to": "none", "save_strategy": "no", "seed": 7,
             "logging_steps": 1, "disable_tqdm": True, "num_train_epochs": 1}


class Recorder(EmbeddingTrainer):
    """Keeps every step's loss, gradients and sizes of rows; is killed before step `kill_at`, or told to end in step
    `term_at`."""

    seen: list
    sizes: list
    kill_at = term_at = None

    def training_step(self, model, inputs, num_items_in_batch=None):
        if self.state.global_step == self.kill_at:
            raise KeyboardInterrupt
        if self.state.global_step == self.term_at:
            os.kill(os.getpid(), signal.SIGTERM)
        self.sizes.append([])
        loss = super().training_step(model, inputs, num_items_in_batch)
        gradients = {name: p.grad.clone() for name, p in self.model.named_parameters() if p.requires_grad}
        self.seen.append((loss.item(), gradients))
        return loss

    def embed(self, model, row, number):
        if self.sizes:  # else it is the forecast's
            self.sizes[-1].append(row.size)
        return super().embed(model, row, number)


def save_guide(model, folder, pooling="mean") -> str:
    """A SentenceTransformer of another pooling than ours: whatever people have."""
    encoder = Transformer(str(model))
    encoder.tokenizer.pad_token = "."
    SentenceTransformer(modules=[encoder, Pooling(encoder.get_embedding_dimension(), pooling), Normalize()],
                        device="cpu").save_pretrained(str(folder))
    return str(folder)


def guide_of(paths, texts, folder) -> Guide:
    """The guide that these models are, when it has embedded some texts."""
    models = {key: locate(key, path, "model", []) for key, path in zip(("guide", "second_guide"), paths)}
    made = Guide(models, Path(folder) / "vectors", 128, "float32")
    made.embed(texts, Processes(Path(folder) / ".failed"))
    return made


def trainer(folder, output, *, keys=None, arguments=None, rows=None, dropout=0.0, dtype="float32", held_out=None,
            score=None, guide=None) -> Recorder:
    """A fresh trainer whose adapter starts from random numbers on both sides, so that every weight has a gradient."""
    if held_out and score is None:
        score = HeldOutScores({sample.name: sample.kind for sample in held_out})
    rows = triplet_rows() if rows is None else rows
    tables = {task: Dataset.from_dict({name: [row[name] for row in some] for name in TRIPLETS}, features=TRIPLETS)
              for task, some in rows.items()}
    torch.manual_seed(3)
    model = AutoModel.from_pretrained(folder, dtype=dtype)
    lora = LoraConfig(r=4, lora_alpha=8, lora_dropout=dropout, target_modules="all-linear",
                      task_type="FEATURE_EXTRACTION", init_lora_weights=False)
    model = get_peft_model(model, fuse_lora(lora))
    config = TrainConfig(**KEYS | (keys or {}))
    encode = guide and guide_of([guide], texts_of(list(tables.values()), config.num_negatives), output)
    made = Recorder(config, {task: TASKS[task] for task in tables}, tables, encode,
                    model=model, args=TrainingArguments(str(output), **ARGUMENTS | (arguments or {})),
                    processing_class=load_tokenizer(str(folder), config.prompt_max_length),
                    eval_dataset=held_out, compute_metrics=score)
    made.seen, made.sizes = [], []
    return made


def adapter_of(made: Recorder) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in made.model.named_parameters() if p.requires_grad}


def train_one(folder, output, options, resume=None):
    """Trains from start to end, or on from a checkpoint; what there is to compare, on the main process."""
    made = trainer(folder, output, **options)
    made.train(resume_from_checkpoint=resume)
    return {"processes": made.accelerator.num_processes, "seen": made.seen, "sizes": made.sizes,
            "adapter": adapter_of(made), "log": made.state.log_history}


def _child(function, rank, size, port, result, arguments):
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_WORLD_SIZE": str(size),
                   "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    value = function(*arguments)
    if rank == 0:
        torch.save(value, result)
    torch.distributed.destroy_process_group()


def in_processes(function, size: int, folder: Path, *arguments):
    """Calls `function(*arguments)` in processes that see each other over gloo; what it returns on the first of them.

    They fork from a server that has imported everything once, as imports take longer than the tests.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["anna_embed.training.trainer", "datasets", "peft"])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    result = folder / "result.pt"
    children = [context.Process(target=_child, args=(function, rank, size, port, result, arguments))
                for rank in range(size)]
    for child in children:
        child.start()
    for child in children:
        child.join(300)
    assert [child.exitcode for child in children] == [0] * size
    return torch.load(result, weights_only=False)
