"""Any SentenceTransformer folder, or a bare decoder, as a function from texts and a prompt to vectors."""

from pathlib import Path

import numpy as np

from anna_embed.model.layout import portable_tokenizer, write_layout
from anna_embed.parsing import RecipeError
from anna_embed.tokens import load_tokenizer
from anna_embed.unit_vectors import to_length_one

LIMIT = 2048  # tokens of a text for a decoder whose configuration states none


def load_encoder(path: str, max_length: int, batch_size: int, dtype: str):
    """`encode` with a progress bar; equal texts are encoded once.

    A model whose last token's state is the embedding goes through the engine, any other through the stock library.

    Args:
        path (`str`): A SentenceTransformer's folder, be it a transformer or static embeddings.
        max_length (`int`): Tokens of a text; a prompt has its own beside them, up to the model's limit.
        batch_size (`int`): Texts per forward pass.
        dtype (`str`): Type of the weights.

    Returns:
        `Callable`: from `(list[str], prompt)` to float32 vectors of length one, (texts, dim).
    """
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    from anna_embed.model.load import open_model

    model = open_model(path, model_kwargs={"dtype": dtype})
    has_limit = not isinstance(model[0], StaticEmbedding)  # which reads whole texts
    most = has_limit and model.max_seq_length or max_length

    def encode(texts: list[str], prompt: str) -> np.ndarray:
        if has_limit:
            own = model.tokenizer(prompt, add_special_tokens=False)["input_ids"]
            model.max_seq_length = min(most, max_length + len(own))
        distinct = list(dict.fromkeys(texts))
        # An empty prompt is passed on as such: None would put the model's own default prompt in front.
        vectors = model.encode(distinct, prompt=prompt, batch_size=batch_size,
                               show_progress_bar=len(distinct) > batch_size)
        if not np.isfinite(vectors).all():
            raise RecipeError(f"model: '{path}' gives vectors that are not finite; check its weights, or use dtype: "
                              "float32.")
        place = {text: n for n, text in enumerate(distinct)}
        return to_length_one(vectors)[[place[text] for text in texts]]

    return encode


def lay_out_untrained(base: str, folder: Path) -> None:
    """Makes a SentenceTransformer of a bare decoder, as training starts from. The weights are links to the base's."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(base)
    except (OSError, ValueError) as error:
        raise RecipeError(f"model: '{base}' is neither a SentenceTransformer nor a decoder "
                          f"({str(error).splitlines()[0][:120]}); give an exported model, not an adapter.") from None
    for file in Path(base).iterdir():
        if file.suffix in (".safetensors", ".bin") or file.name == "config.json" or file.name.endswith(".index.json"):
            (folder / file.name).symlink_to(file.resolve())
    config = config.get_text_config()
    names = ("max_position_embeddings", "seq_length", "max_seq_len")  # the last two of models with ALiBi
    limit = next((getattr(config, name) for name in names if getattr(config, name, None)), LIMIT)
    load_tokenizer(base, limit).save_pretrained(folder)
    portable_tokenizer(folder)
    write_layout(folder, config.hidden_size, limit, {})
