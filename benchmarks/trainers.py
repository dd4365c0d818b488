"""One training step of ours and of each peer, by the trainer of each: the batch fetched, forward, backward, optimizer.

The same strings, the same global batch, the same loss (InfoNCE over all passages of the batch), the base in bfloat16
with autocast, or in float32 without, the adapter in float32, AdamW at learning rate 0: every run is the same step.
"""

import tempfile

import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import AutoModel, TrainingArguments, set_seed

from anna_embed.schema import TRIPLETS
from anna_embed.tokens import load_tokenizer
from benchmarks.one_step import Step
from benchmarks.workload import SEED, FullSteps, Workload

ALPHA = 2  # lora_alpha is so many times the rank
TEMPERATURE = 0.02  # the default of `TrainConfig` and of FlagEmbedding; 1 / scale of sentence-transformers


def arguments(dtype: str, **keys) -> dict:
    """Of every trainer: one step, nothing written; autocast where the base is in bfloat16."""
    return {"output_dir": tempfile.mkdtemp(), "max_steps": 1, "learning_rate": 0.0, "bf16": dtype == "bfloat16",
            "logging_steps": 1, "use_cpu": not torch.cuda.is_available(), "report_to": "none", "save_strategy": "no",
            "disable_tqdm": True, "seed": SEED, **keys}


def lora(rank: int, **keys) -> LoraConfig:
    set_seed(SEED)  # the adapters start equal
    return LoraConfig(r=rank, lora_alpha=ALPHA * rank, lora_dropout=0.0, target_modules="all-linear",
                      task_type="FEATURE_EXTRACTION", **keys)


def ours(path: str, work: Workload, rank: int, dtype: str = "bfloat16", model=None, **keys):
    """
    Our trainer on rows in memory.

    Args:
        path (`str`): folder of the base model, or of its tokenizer alone.
        work (`Workload`): what to train on.
        rank (`int`): of LoRA.
        dtype (`str`, *optional*, defaults to `"bfloat16"`): of the base, with autocast; or `"float32"`, without.
        model (`torch.nn.Module`, *optional*): the base model, if it is not read from `path`.
        **keys: of `transformers.TrainingArguments`.
    """
    from anna_embed.training.lora import fuse_lora
    from anna_embed.training.trainer import EmbeddingTrainer

    model = AutoModel.from_pretrained(path, dtype=dtype) if model is None else model
    table = Dataset.from_dict({name: [row[name] for row in work.rows] for name in TRIPLETS}, features=TRIPLETS)
    tasks, rows = {work.name: work.task}, {work.name: table}
    trainer = EmbeddingTrainer(
        work.config, tasks, rows, model=get_peft_model(model, fuse_lora(lora(rank))),
        args=TrainingArguments(**arguments(dtype, **keys)),
        processing_class=load_tokenizer(path, work.config.prompt_max_length))
    trainer.steps = FullSteps(work.config, tasks, rows, trainer.processing_class, SEED)
    return Step(trainer)


def sentence_transformers(path: str, max_length: int, longest: int, strings: tuple, rank: int,
                          dtype: str = "bfloat16") -> Step:
    """
    The trainer of sentence-transformers with CachedMultipleNegativesRankingLoss: one column a passage, its collator.

    Args:
        path (`str`): folder of the base model.
        max_length, longest (`int`): tokens of a passage, and of a query with its examples; the strings keep to them.
        strings (`tuple`): from `workload.as_strings`.
        rank (`int`): of LoRA.
        dtype (`str`, *optional*, defaults to `"bfloat16"`): as for `ours`.
    """
    from sentence_transformers import (
        SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments, models,
    )
    from sentence_transformers.losses import CachedMultipleNegativesRankingLoss

    with tempfile.TemporaryDirectory() as folder:
        load_tokenizer(path, longest).save_pretrained(folder)  # with EOS, as its models are to have it
        transformer = models.Transformer(path, model_kwargs={"dtype": dtype}, tokenizer_name_or_path=folder,
                                         max_seq_length=longest)
    transformer.tokenizer.padding_side = "right"  # its loss cuts off what is padded on the right of a mini-batch only
    pooling = models.Pooling(transformer.get_embedding_dimension(), pooling_mode="lasttoken")
    model = SentenceTransformer(modules=[transformer, pooling, models.Normalize()],
                                device="cuda" if torch.cuda.is_available() else "cpu")
    model.add_adapter(lora(rank))
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()  # add_adapter makes them as the base is
    queries, groups = strings
    columns = {"anchor": queries, "positive": [group[0] for group in groups]}
    columns |= {f"negative_{n}": [group[n] for group in groups] for n in range(1, len(groups[0]))}
    loss = CachedMultipleNegativesRankingLoss(model, scale=1 / TEMPERATURE)

    def use(candidate):
        loss.mini_batch_size = candidate.get("mini_batch_size", 32)  # of the loss's own score matrix too
        loss.mini_batch_num_tokens = candidate.get("mini_batch_num_tokens")

    trainer = SentenceTransformerTrainer(
        model, SentenceTransformerTrainingArguments(**arguments(dtype, per_device_train_batch_size=len(queries))),
        train_dataset=Dataset.from_dict(columns), loss=loss)
    return Step(trainer, use, [_powers("mini_batch_size", 2, len(queries)),
                               _powers("mini_batch_num_tokens", 512, 8192)])


def flag_embedding(path: str, max_length: int, longest: int, strings: tuple, rank: int,
                   dtype: str = "bfloat16") -> Step:
    """
    The decoder-only trainer with examples of FlagEmbedding: its model, its collator, its trainer, as its runner joins
    them.

    It has no gradient cache: the graph of the whole batch is kept. So it runs with its `--gradient_checkpointing`;
    without, a batch of 64 queries takes more memory than small machines have.

    Args:
        path, max_length, longest, strings, rank, dtype: as for `sentence_transformers`.
    """
    from FlagEmbedding.abc.finetune.embedder import AbsEmbedderSameDatasetCollator
    from FlagEmbedding.abc.finetune.embedder.AbsArguments import AbsEmbedderTrainingArguments
    from FlagEmbedding.finetune.embedder.decoder_only.icl.modeling import BiDecoderOnlyEmbedderICLModel
    from FlagEmbedding.finetune.embedder.decoder_only.icl.trainer import DecoderOnlyEmbedderICLTrainer

    base, tokenizer = AutoModel.from_pretrained(path, dtype=dtype), load_tokenizer(path, longest)
    base.config.use_cache, tokenizer.padding_side = False, "left"
    args = AbsEmbedderTrainingArguments(**arguments(dtype, per_device_train_batch_size=1, gradient_checkpointing=True))
    model = BiDecoderOnlyEmbedderICLModel(get_peft_model(base, lora(rank)), tokenizer, temperature=TEMPERATURE,
                                          sentence_pooling_method="last_token", normalize_embeddings=True)
    model.enable_input_require_grads()
    queries, groups = strings
    collator = AbsEmbedderSameDatasetCollator(tokenizer=tokenizer, query_max_len=longest, passage_max_len=max_length,
                                              padding=True, return_tensors="pt")

    def use(candidate):
        model.sub_batch_size = collator.sub_batch_size = candidate["sub_batch_size"]

    batch = queries, [passage for group in groups for passage in group], None, False
    trainer = DecoderOnlyEmbedderICLTrainer(model=model, args=args, train_dataset=[batch], processing_class=tokenizer,
                                            data_collator=collator)
    return Step(trainer, use, [_powers("sub_batch_size", 2, len(batch[1]))])


PEERS = {"sentence-transformers": sentence_transformers, "FlagEmbedding": flag_embedding}


def _powers(name, low, high):
    """Candidates `{name: low}`, `{name: 2 * low}` and so on up to `high`."""
    return [{name: low << n} for n in range(32) if low << n <= max(high, low)]
