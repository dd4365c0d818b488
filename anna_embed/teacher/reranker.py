"""Cross-encoder scores: any sentence-transformers CrossEncoder with one output, as raw logits."""

import errno
import json
from pathlib import Path

import numpy as np

from anna_embed.parsing import RecipeError, in_short

# Encoders with a table of positions, and how many of these no token has.
ABSOLUTE = {"bert": 0, "electra": 0, "distilbert": 0, "roberta": 2, "xlm-roberta": 2, "camembert": 2, "mpnet": 2}


def load(path: str, max_length: int, dtype: str = "float32", device: str | None = None):
    """A cross-encoder whose `predict` gives raw logits.

    Raises:
        [`RecipeError`]: the model has no trained head with one output, or lacks other weights. (The library would make
            up random ones.)
    """
    from anna_embed.weights import check_weights

    config, note = _config(path, "reranker"), Path(path, "config_sentence_transformers.json")
    classifier = (config.architectures or [""])[0].endswith("ForSequenceClassification")
    kind = json.loads(note.read_text(encoding="utf-8")).get("model_type") if note.is_file() else None
    if not classifier and kind != "CrossEncoder":  # decoders that score by the logit of a word say so in that file
        raise RecipeError(f"reranker: '{path}' is no cross-encoder, so its scores would be random; name one, or train "
                          "one with recipes.train_reranker.")
    if classifier and config.num_labels != 1:
        raise RecipeError(f"reranker: '{path}' has {config.num_labels} outputs, but a relevance score is one; name a "
                          "cross-encoder with one output.")
    check_length(path, max_length, "reranker")
    model = read("reranker", path, max_length, model_kwargs={"dtype": dtype}, device=device)
    check_weights(model.transformers_model, path, "reranker")
    return model


def read(key: str, path: str, max_length: int, **options):
    """A cross-encoder with one output and no activation.

    Args:
        key (`str`): The recipe's key that names it.
        options: Of `CrossEncoder`.

    Raises:
        [`RecipeError`]: its weights cannot be read, or its tokenizer knows no words.
    """
    import torch
    from safetensors import SafetensorError
    from sentence_transformers import CrossEncoder

    from anna_embed.tokens import check_words

    try:
        model = CrossEncoder(path, max_length=max_length, num_labels=1, activation_fn=torch.nn.Identity(), **options)
    except (OSError, SafetensorError) as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise
        raise RecipeError(f"{key}: cannot read the weights of '{path}' ({in_short(error)}); fetch them "
                          "again.") from None
    check_words(model.tokenizer, path, key)
    return model


def check_length(path: str, max_length: int, key: str) -> None:
    """Raises [`RecipeError`] if an encoder has no positions for so many tokens: it would fail at the first text that
    long, after hours perhaps. `key` is the recipe's key that names the encoder."""
    config = _config(path, key)
    if config.model_type in ABSOLUTE:
        limit = config.max_position_embeddings - ABSOLUTE[config.model_type]
        if max_length > limit:
            raise RecipeError(f"max_length: {max_length} is not possible; the {key} '{path}' reads {limit} tokens: "
                              f"write {limit} or less.")


def _config(path, key):
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(path)
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise
        raise RecipeError(f"{key}: there is no model in '{path}' ({in_short(error)}); name the folder or Hub id of an "
                          "encoder.") from None


def score(model, pairs: list[tuple[str, str]], batch_size: int = 64, progress: bool = False) -> np.ndarray:
    """Logits of (query, passage) pairs, float32 of shape (pairs,).

    The library sorts the pairs of a call by length, so that little is padded: give it many.
    """
    if not pairs:
        return np.empty(0, np.float32)
    logits = model.predict(pairs, batch_size=batch_size, show_progress_bar=progress, convert_to_numpy=True)
    return logits.astype(np.float32)
