"""Cross-encoder scores: any sentence-transformers CrossEncoder with one output, as raw logits."""

import numpy as np


def load(path: str, max_length: int, dtype: str = "float32", device: str | None = None):
    """A cross-encoder whose `predict` gives raw logits."""
    import torch
    from sentence_transformers import CrossEncoder

    return CrossEncoder(path, max_length=max_length, num_labels=1, activation_fn=torch.nn.Identity(),
                        model_kwargs={"dtype": dtype}, device=device)


def score(model, pairs: list[tuple[str, str]], batch_size: int = 64, progress: bool = False) -> np.ndarray:
    """Logits of (query, passage) pairs, float32 of shape (pairs,).

    All pairs of all queries go in one call: the library sorts them by length, so that little is padded.
    """
    if not pairs:
        return np.empty(0, np.float32)
    return model.predict(pairs, batch_size=batch_size, show_progress_bar=progress, convert_to_numpy=True).astype(np.float32)
