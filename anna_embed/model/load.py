"""`anna_embed.load`: the stock library's model with more ways to name a prompt, whose passes go through the engine."""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from sentence_transformers.util import truncate_embeddings
from sentence_transformers.util.decorators import deprecated_kwargs
from torch.nn.functional import normalize
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from anna_embed.engine.prefill import PrefixStates, pool_lists
from anna_embed.model.asked import ROLES, asked_prompt, document_prompt
from anna_embed.model.chunks import chunks
from anna_embed.model.text_files import is_unicode
from anna_embed.parsing import RecipeError, in_short
from anna_embed.precision import check_device
from anna_embed.weights import check_weights

TOKENS_OF_A_TEXT = 32  # by which a batch size in texts becomes a budget in tokens
CHARACTERS_OF_A_TOKEN = 4  # about, in English
CHUNK_TEXTS, CHUNK_ROWS = 1024, 32  # tokenised and planned at a time, so that memory does not grow with the texts


class Embedder(SentenceTransformer):
    """A SentenceTransformer that encodes each distinct token once.

    All options of `encode`, `encode_query` and `encode_document` are the stock library's. `batch_size` texts of 32
    tokens make a row of the engine. These come beside them:

        task (`str`): Names a task whose stored prompt is used, of which documents have none unless both sides have.
        instruction (`str`): Is used instead of a stored prompt.
        examples (`list[tuple[str, str]]`): Pairs of query and passage that stand before the prompt, as in training.

    The states of a prompt are computed once and kept for other calls, up to `prefix_states.limit` bytes. What the
    engine cannot do (token embeddings, other pooling, other backends, models in parts) is the stock library's work, as
    is all of it under sentence-transformers before 6.2, whose `encode` does not call `_inference`.
    """

    def __init__(self, model_name_or_path: str | None = None, **kwargs):
        super().__init__(model_name_or_path, **kwargs)
        self.source = model_name_or_path
        self.prefix_states = PrefixStates()

    @deprecated_kwargs(sentences="inputs")  # as the stock method's
    def encode(self, inputs, prompt_name: str | None = None, prompt: str | None = None, *args, task: str | None = None,
               instruction: str | None = None, examples: Iterable[tuple[str, str]] | None = None, **kwargs):
        """The stock method with the prompt that all of these ask for."""
        prompt = asked_prompt(self, self._resolve_prompt(prompt, prompt_name), task, instruction, examples)
        if not is_unicode(prompt):
            raise RecipeError(f"prompt: {prompt[:80]!r} holds half a character (a lone surrogate); mend it.")
        return super().encode(inputs, None, prompt, *args, task=task if task in ROLES else None, **kwargs)

    @deprecated_kwargs(sentences="inputs")
    def encode_query(self, *args, task: str | None = None, **kwargs):
        """The stock method, or `encode` with a task's prompt."""
        return super().encode_query(*args, **kwargs) if task is None else self.encode(*args, task=task, **kwargs)

    @deprecated_kwargs(sentences="inputs")
    def encode_document(self, inputs, prompt_name: str | None = None, prompt: str | None = None, *args,
                        task: str | None = None, **kwargs):
        """The stock method, or `encode` with what stands in front of a task's documents."""
        if task is None:
            return super().encode_document(inputs, prompt_name, prompt, *args, **kwargs)
        if kwargs.get("instruction") is not None:
            raise RecipeError(f"task: '{task}' has an instruction of its own; give task= or instruction=, not both.")
        prompt = document_prompt(self.prompts, task) if prompt is None else prompt
        return self.encode(inputs, None, prompt, *args, **kwargs)

    @torch.inference_mode()
    def _inference(self, inputs, *, prompt, batch_size, show_progress_bar, output_value, save_to_cpu,
                   normalize_embeddings, truncate_dim, device=None, **kwargs):
        """What the stock `encode` does in each process, through the engine."""
        if output_value != "sentence_embedding" or not self._goes_through_engine:
            return super()._inference(
                inputs, prompt=prompt, batch_size=batch_size, show_progress_bar=show_progress_bar,
                output_value=output_value, save_to_cpu=save_to_cpu, normalize_embeddings=normalize_embeddings,
                truncate_dim=truncate_dim, device=device, **kwargs)
        device = self._resolve_inference_device(device)
        self.eval()
        _check_strings(inputs)
        prefix = self._prompt_tokens(prompt)
        # In order, texts that begin alike come into one row. What is repeated is encoded once.
        distinct, budget, vectors, done = sorted(set(inputs)), batch_size * TOKENS_OF_A_TEXT, None, 0
        progress = tqdm(total=len(distinct), desc="Texts", disable=not show_progress_bar)
        for chunk in chunks(distinct, CHUNK_TEXTS, CHUNK_ROWS * budget * CHARACTERS_OF_A_TOKEN):
            found = self._vectors(self._token_lists(chunk, prompt, **kwargs), budget, prefix, progress.update)
            if truncate_dim is not None:
                found = truncate_embeddings(found, truncate_dim)
            if normalize_embeddings:
                found = normalize(found, p=2, dim=1)
            if vectors is None:
                vectors = found.new_empty(len(distinct), found.shape[1], device="cpu" if save_to_cpu else device)
            vectors[done: done + len(chunk)] = found
            done += len(chunk)
        progress.close()
        if vectors is None:
            return torch.tensor([], device=device)
        if len(distinct) == len(inputs) and distinct == inputs:
            return vectors
        place = {text: n for n, text in enumerate(distinct)}
        return vectors[[place[text] for text in inputs]]

    @property
    def _goes_through_engine(self) -> bool:
        """Whether this is a decoder whose last token's state is the embedding, whole on one device."""
        return (self.backend == "torch" and pools_last_token(self) and self._accelerate_placement_hook is None
                and self._compiled_call_impl is None and not self._can_flatten_inputs())

    def _token_lists(self, texts: list[str], prompt: str, **kwargs) -> list[np.ndarray]:
        """What the stock library makes of whole strings, without the padding."""
        features = self.preprocess(texts, prompt=prompt, **kwargs)
        ids, mask = features["input_ids"].numpy(), features["attention_mask"].numpy().astype(bool)
        lists = [line[real] for line, real in zip(ids, mask)]
        empty = next((text for text, tokens in zip(texts, lists) if len(tokens) == 0), None)
        if empty is not None:
            raise RecipeError(f"encode: the text {empty!r} has no tokens, as the tokenizer of '{self.source}' adds no "
                              "EOS; leave it out, or take a model that was exported.")
        return lists

    def _prompt_tokens(self, prompt: str) -> list[int]:
        """The tokens of the prompt alone; how many of them the texts begin with is found out from theirs."""
        if not prompt:
            return []
        tokens = self.tokenizer(prompt, verbose=False)["input_ids"]
        if self.max_seq_length is not None and len(tokens) >= self.max_seq_length:
            raise RecipeError(f"prompt: it has {len(tokens)} tokens, and the model reads {self.max_seq_length} of "
                              "prompt and text together; give a shorter prompt or fewer examples, or set "
                              "model.max_seq_length.")
        return tokens

    def _vectors(self, token_lists: list[np.ndarray], budget: int, prefix: list[int], count) -> torch.Tensor:
        """Pooled by the engine, then through the stock modules that come after pooling."""
        states = pool_lists(self.transformers_model, token_lists, budget, prefix, self.prefix_states, count)
        features = {"sentence_embedding": states}
        for module in list(self)[2:]:
            features = module(features)
        if not torch.isfinite(features["sentence_embedding"]).all():
            raise RecipeError(f"model: '{self.source}' gives vectors that are not finite; check its weights, or load "
                              "it in float32.")
        return features["sentence_embedding"]


def pools_last_token(model: SentenceTransformer) -> bool:
    """Whether a model is a text transformer, last-token pooling, and what comes after pooling."""
    first, second = [*model, None, None][:2]
    return (isinstance(first, Transformer) and isinstance(second, Pooling) and second.pooling_mode == "lasttoken"
            and first.modality_config.get("text") == {"method": "forward", "method_output_name": "last_hidden_state"})


def open_model(path_or_id: str, **kwargs) -> Embedder:
    """Any SentenceTransformer; what cannot be loaded is told in one sentence.

    Raises:
        [`RecipeError`]: the folder or repository is none, or is damaged, or lacks weights; or there is no such device.
    """
    if kwargs.get("device") is not None:
        check_device(kwargs["device"])
    try:
        model = Embedder(path_or_id, **kwargs)
    except (OSError, ValueError, RuntimeError, AssertionError, TypeError, SafetensorError) as error:
        # A wrong type is what the library says where a module's config.json, say that of 1_Pooling, is not.
        if "unexpected keyword argument" in str(error):
            raise
        raise RecipeError(f"model: '{path_or_id}' cannot be loaded ({in_short(error)}); "
                          f"{_remedy(path_or_id)}.") from None
    if isinstance(model.transformers_model, PreTrainedModel):  # no static embeddings, and not another backend's
        check_weights(model.transformers_model, path_or_id, "model")
    return model


def load_embedder(path_or_id: str, **kwargs) -> Embedder:
    """What [`anna_embed.load`] does."""
    if not path_or_id:
        raise RecipeError("model: names nothing; give a folder or a Hub id (org/name).")
    model = open_model(path_or_id, **kwargs)
    if not pools_last_token(model):
        pooling = [module.pooling_mode for module in model if isinstance(module, Pooling)]
        raise RecipeError(f"model: '{path_or_id}' does not embed with its last token's state (pooling: "
                          f"{', '.join(map(str, pooling)) or 'none'}); load it with SentenceTransformer.")
    return model


def _remedy(folder):
    """For a model that cannot be loaded."""
    try:
        base = json.loads(Path(folder, "adapter_config.json").read_text())["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError):
        return "fetch it again, or give the folder or Hub id of a SentenceTransformer or a decoder"
    return (f"it is an adapter, whose base '{base}' must be within reach: name the base's folder in its "
            "adapter_config.json, or give the model that recipes.export makes of the two")


def _check_strings(inputs):
    for n, text in enumerate(inputs):
        if not isinstance(text, str):
            raise RecipeError(f"encode: item {n} is of type {type(text).__name__}, not a string; give texts only.")
        if not is_unicode(text):
            raise RecipeError(f"encode: item {n}, {text[:80]!r}, holds half a character (a lone surrogate); mend it, "
                              "or leave it out.")
