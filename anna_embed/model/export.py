"""Adapter and base to one folder that the stock library loads, and the proof that it gives the trainer's vectors."""

from pathlib import Path

import numpy as np
import torch

from anna_embed.adapter_folder import put_on, read_config
from anna_embed.engine import embed
from anna_embed.model.layout import portable_config, portable_tokenizer, write_layout
from anna_embed.parsing import RecipeError
from anna_embed.tokens import tokenize
from anna_embed.weights import check_weights

FLOAT32_TOLERANCE = 1e-4  # of a coordinate of a unit vector; float32 rounding gives about 1e-6
BFLOAT16_COSINE = 0.99  # weights rounded to 8 bits of mantissa move a vector by about this much at most
TOKEN_BUDGET = 4096


def load_adapted(base: str, adapters: list[str]):
    """The base with the adapter on it, float32, whatever they were stored in.

    Of several adapters the changes of the weights are averaged (model soups, arXiv 2203.05482): their factors stand
    side by side in one adapter, as the mean of A and the mean of B would not give the mean of B A.

    Raises:
        [`RecipeError`]: they do not fit together, an adapter is damaged, or the base lacks weights.
    """
    from peft.tuners.lora import LoraLayer
    from transformers import AutoModel

    model = AutoModel.from_pretrained(base, dtype=torch.float32)
    check_weights(model, base, "base_model")
    names = [f"adapter{number}" for number in range(len(adapters))]  # peft would take a mere number for a layer's
    for name, adapter in zip(names, adapters):
        model = put_on(model, adapter, read_config(adapter), name)
    if len(adapters) > 1:
        if any(c.use_dora or c.modules_to_save or c.target_parameters for c in model.peft_config.values()):
            raise RecipeError("average: adapters with use_dora, lora_modules_to_save or lora_target_parameters have "
                              "no mean of this kind; export one of them.")
        model.add_weighted_adapter(names, [1 / len(names)] * len(names), "mean", combination_type="cat")
        for layer in model.modules():  # the factors hold all scaling; with rslora peft would scale them once more
            if isinstance(layer, LoraLayer):
                layer.scaling["mean"] = 1.0
        model.set_adapter("mean")
    return model.eval()


def vectors_of(model, tokenizer, texts: list[str], max_seq_length: int) -> torch.Tensor:
    """What training computes: ids by our tokenizer, packed rows, unit vectors of shape (texts, dim)."""
    with torch.no_grad():
        return embed(model, tokenize(tokenizer, texts, max_seq_length), TOKEN_BUDGET)


def write_model(model, tokenizer, folder: Path, dtype: str, max_seq_length: int, prompts: dict[str, str]):
    """Merges in float32 (bfloat16 would lose LoRA's small differences), then casts, then writes everything.

    Returns:
        The merged float32 backbone.
    """
    merged = model.merge_and_unload()
    state = {k: v.to(getattr(torch, dtype)).contiguous() for k, v in merged.state_dict().items()}
    merged.save_pretrained(folder, state_dict=state)
    tokenizer.save_pretrained(folder)
    portable_config(folder, dtype)
    portable_tokenizer(folder)
    write_layout(folder, merged.config.get_text_config().hidden_size, max_seq_length, prompts)
    return merged


def check(vectors: torch.Tensor, merged, tokenizer, folder: Path, texts: list[str], max_seq_length: int,
          dtype: str) -> dict:
    """Compares the exported folder, loaded by the stock library, with the trainer.

    Args:
        vectors (`torch.Tensor`): (texts, dim), from the adapter through the engine, before merging.
        merged: The merged float32 backbone.
        tokenizer: The trainer's tokenizer.
        folder (`Path`): The exported model.
        texts (`list[str]`): Prompted texts, some longer than the limit.
        max_seq_length (`int`): The limit.
        dtype (`str`): What the weights were rounded to.

    Returns:
        `dict`: the largest differences, for the card.

    Raises:
        [`RecipeError`]: token ids differ, a row does not end with EOS, or vectors differ by more than rounding.
    """
    from sentence_transformers import SentenceTransformer

    ours = tokenize(tokenizer, texts, max_seq_length)
    stock = SentenceTransformer(str(folder), model_kwargs={"dtype": "float32"}, device="cpu")
    if stock.tokenizer(texts, truncation=True, max_length=stock.max_seq_length)["input_ids"] != ours:
        raise _refused("the stock library makes other token ids of the texts than training")
    if any(row[-1] != tokenizer.eos_token_id for row in ours):
        raise _refused("a text does not end with EOS")
    if not torch.isfinite(vectors).all():
        raise _refused("a vector is not finite; look at the weights of base and adapter")
    by_side = {}
    for side in ("left", "right"):
        stock.tokenizer.padding_side = side
        by_side[side] = stock.encode(texts, batch_size=8)
    merging = (vectors_of(merged, tokenizer, texts, max_seq_length) - vectors).abs().max().item()
    padding = float(np.abs(by_side["left"] - by_side["right"]).max())
    rounding = float(np.abs(by_side["right"] - vectors.numpy()).max())
    cosine = float((by_side["right"] * vectors.numpy()).sum(1).min())
    for what, difference in (("merged from adapter", merging), ("left from right padding", padding)):
        if not difference <= FLOAT32_TOLERANCE:
            raise _refused(f"vectors differ by {difference:.1e} ({what})")
    if not (rounding <= FLOAT32_TOLERANCE if dtype == "float32" else cosine >= BFLOAT16_COSINE):
        raise _refused(f"the stock library's vectors have cosine {cosine:.4f} with the trainer's, and differ by "
                       f"{rounding:.1e}")
    return {"texts compared": len(texts), "token ids equal": True, "EOS on every text": True,
            "merged against adapter, float32": merging, "left against right padding": padding,
            f"stock library against trainer, {dtype} weights": rounding, "lowest cosine of these": cosine}


def _refused(what):
    return RecipeError(f"export: {what}; nothing was written. Try dtype: float32, or report this with the recipe.")
