"""Cross-encoder scores: any sentence-transformers CrossEncoder with one output, as raw logits."""

import json
from pathlib import Path

import numpy as np

from anna_embed.parsing import RecipeError


def load(path: str, max_length: int, dtype: str = "float32", device: str | None = None):
    """A cross-encoder whose `predict` gives raw logits.

    Raises:
        [`RecipeError`]: the model has no trained head with one output. (The library would make up a random one.)
    """
    import torch
    from sentence_transformers import CrossEncoder
    from transformers import AutoConfig

    config, note = AutoConfig.from_pretrained(path), Path(path, "config_sentence_transformers.json")
    classifier = (config.architectures or [""])[0].endswith("ForSequenceClassification")
    kind = json.loads(note.read_text(encoding="utf-8")).get("model_type") if note.is_file() else None
    if not classifier and kind != "CrossEncoder":  # decoders that score by the logit of a word say so in that file
        raise RecipeError(f"reranker: '{path}' is no cross-encoder, so its scores would be random; name one, or train "
                          "one with recipes.train_reranker.")
    if classifier and config.num_labels != 1:
        raise RecipeError(f"reranker: '{path}' has {config.num_labels} outputs, but a relevance score is one; name a "
                          "cross-encoder with one output.")
    return CrossEncoder(path, max_length=max_length, num_labels=1, activation_fn=torch.nn.Identity(),
                        model_kwargs={"dtype": dtype}, device=device)


def score(model, pairs: list[tuple[str, str]], batch_size: int = 64, progress: bool = False) -> np.ndarray:
    """Logits of (query, passage) pairs, float32 of shape (pairs,).

    The library sorts the pairs of a call by length, so that little is padded: give it many.
    """
    if not pairs:
        return np.empty(0, np.float32)
    logits = model.predict(pairs, batch_size=batch_size, show_progress_bar=progress, convert_to_numpy=True)
    return logits.astype(np.float32)
