"""Adapter and base to one folder that the stock library loads, and the proof that it gives the trainer's vectors."""

from pathlib import Path

import numpy as np
import torch

from anna_embed.engine import embed
from anna_embed.model.layout import portable_tokenizer, write_layout
from anna_embed.parsing import RecipeError
from anna_embed.prompts import query_prompt
from anna_embed.tokens import tokenize

FLOAT32_TOLERANCE = 1e-4  # of a coordinate of a unit vector, adapter against merged; float32 rounding gives about 1e-6
BFLOAT16_COSINE = 0.99  # weights rounded to 8 bits of mantissa move a vector by about this much at most


def load_adapted(base: str, adapter: str):
    """The base with the adapter on it, float32, as it was trained."""
    from peft import PeftModel
    from transformers import AutoModel

    backbone = AutoModel.from_pretrained(base, dtype=torch.float32)
    try:
        return PeftModel.from_pretrained(backbone, adapter).eval()
    except (RuntimeError, ValueError) as error:
        raise RecipeError(f"adapter: '{adapter}' does not fit the base '{base}' ({str(error).splitlines()[0]}); name the "
                          "base that it was trained on.") from None


def prompts_of(tasks: dict[str, dict]) -> dict[str, str]:
    """Prompts by name: `query` (of the first retrieval task), `document`, and one per task.

    A task whose documents carry no instruction is named `<task>-query`, which is what mteb looks for; a bare task name
    would apply to its documents too.
    """
    from anna_embed.kinds import KINDS

    scored = [t for t in tasks.values() if KINDS[t["kind"]].scored] or list(tasks.values())
    named = {f"{name}-query" if KINDS[t["kind"]].scored else name: query_prompt(t["instruction"])
             for name, t in tasks.items()}
    return {"query": query_prompt(scored[0]["instruction"]), "document": "", **named}


def write_model(model, tokenizer, folder: Path, dtype: str, max_seq_length: int, prompts: dict[str, str]):
    """Merges in float32 (bfloat16 would lose LoRA's small differences), then casts, then writes everything.

    Returns:
        The merged float32 backbone.
    """
    merged = model.merge_and_unload()
    state = {k: v.to(getattr(torch, dtype)).contiguous() for k, v in merged.state_dict().items()}
    merged.config.dtype = getattr(torch, dtype)
    merged.save_pretrained(folder, state_dict=state)
    tokenizer.model_max_length = max_seq_length
    tokenizer.save_pretrained(folder)
    portable_tokenizer(folder)
    write_layout(folder, merged.config.hidden_size, max_seq_length, prompts)
    return merged


def check(vectors: torch.Tensor, merged, tokenizer, folder: Path, texts: list[str], max_seq_length: int) -> dict:
    """Compares the exported folder, loaded by the stock library, with the trainer.

    Args:
        vectors (`torch.Tensor`): (texts, dim), from the adapter through the engine, before merging.
        merged: The merged float32 backbone.
        tokenizer: The trainer's tokenizer.
        folder (`Path`): The exported model.
        texts (`list[str]`): Prompted texts, some longer than the limit.
        max_seq_length (`int`): The limit.

    Returns:
        `dict`: the largest differences, for the card.

    Raises:
        [`RecipeError`]: token ids differ, a row does not end with EOS, or vectors differ by more than rounding.
    """
    from sentence_transformers import SentenceTransformer

    ours = tokenize(tokenizer, texts, max_seq_length)
    stock = SentenceTransformer(str(folder), model_kwargs={"dtype": "float32"}, device="cpu")
    encoded = stock.tokenizer(texts, truncation=True, max_length=stock.max_seq_length)["input_ids"]
    if encoded != ours:
        raise _refused("the exported tokenizer gives other token ids than training's")
    if any(row[-1] != tokenizer.eos_token_id for row in encoded):
        raise _refused("a text does not end with EOS")
    with torch.no_grad():
        difference = (embed(merged, ours, 4096) - vectors).abs().max().item()
        written = {}
        for side in ("left", "right"):
            stock.tokenizer.padding_side = side
            written[side] = stock.encode(texts, batch_size=8, normalize_embeddings=True)
    sides = float(np.abs(written["left"] - written["right"]).max())
    cosine = float((written["right"] * vectors.numpy()).sum(1).min())
    if difference > FLOAT32_TOLERANCE:
        raise _refused(f"merged and adapter differ by {difference:.1e}")
    if cosine < BFLOAT16_COSINE or sides > FLOAT32_TOLERANCE:
        raise _refused(f"the stock library's vectors have cosine {cosine:.4f} with the trainer's (padding: {sides:.1e})")
    return {"texts compared": len(texts), "token ids equal": True, "merged against adapter, float32": difference,
            "left against right padding": sides, "lowest cosine, exported weights against trainer": cosine}


def _refused(what):
    return RecipeError(f"export: {what}; nothing was written. Use dtype: float32, or report this with the recipe.")
