"""An open, end-to-end recipe for LLM text embedders."""


def load(path_or_id: str, **kwargs):
    """Loads a SentenceTransformer whose `encode` reads each distinct token once.

    It gives the vectors of the stock library, whose class it is and whose options it takes; see
    [`~anna_embed.model.load.Embedder`] for what it has beside them.

        model = anna_embed.load("org/lg-anna-embedding")
        model.encode(["What is a fjord?"], prompt_name="query")
        model.encode(["What is a fjord?"], task="SQuAD", examples=[("who built it", "It was built by ...")])

    Args:
        path_or_id (`str`): A folder, or a Hub id.
        **kwargs: As for `sentence_transformers.SentenceTransformer`: `device`, `revision`, `model_kwargs`, ...

    Returns:
        [`~anna_embed.model.load.Embedder`]

    Raises:
        [`~anna_embed.parsing.RecipeError`]: it is no model, or none whose last token's state is the embedding.
    """
    from anna_embed.model.load import load_embedder

    return load_embedder(path_or_id, **kwargs)
