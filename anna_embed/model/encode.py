"""Any SentenceTransformer folder, or a bare decoder, as a function from texts and a prompt to vectors."""

from pathlib import Path

import numpy as np

from anna_embed.model.layout import portable_tokenizer, write_layout
from anna_embed.tokens import load_tokenizer


def load_encoder(path: str, max_length: int, batch_size: int, dtype: str):
    """The stock library's `encode` with a progress bar; equal texts are encoded once.

    Returns:
        `Callable`: from `(list[str], prompt)` to float32 vectors of length one, (texts, dim).
    """
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(path, model_kwargs={"dtype": dtype})
    model.max_seq_length = min(max_length, model.max_seq_length)

    def encode(texts: list[str], prompt: str) -> np.ndarray:
        distinct = list(dict.fromkeys(texts))
        vectors = model.encode(distinct, prompt=prompt or None, batch_size=batch_size, normalize_embeddings=True,
                               show_progress_bar=len(distinct) > batch_size)
        place = {text: n for n, text in enumerate(distinct)}
        return np.asarray(vectors, np.float32)[[place[text] for text in texts]]

    return encode


def lay_out_untrained(base: str, folder: Path, max_length: int) -> None:
    """Makes a SentenceTransformer of a bare decoder: what training starts from. The weights are links to the base's."""
    from transformers import AutoConfig

    for file in Path(base).iterdir():
        if file.suffix in (".safetensors", ".bin") or file.name in ("config.json", "model.safetensors.index.json"):
            (folder / file.name).symlink_to(file.resolve())
    load_tokenizer(base, max_length).save_pretrained(folder)
    portable_tokenizer(folder)
    write_layout(folder, AutoConfig.from_pretrained(base).hidden_size, max_length, {})
