"""Prefixes at inference: the states of an instruction and its examples are computed once and used again by every row
and every call, as in a causal decoder they do not depend on what follows."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from transformers import DynamicCache
from transformers.cache_utils import Cache, DynamicLayer

from .embedding import plan, pool_row
from .masks import can_pack
from .packing import ROW_COST, plan_rows
from .prefixes import as_arrays, common


class GivenLayer(DynamicLayer):
    """A layer's states of a prefix, which the rows that go on from it see and do not add to."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor):
        super().__init__()
        self.keys, self.values, self.is_initialized = keys, values, True

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args, **kwargs):
        """The states of the prefix and of the row, as attention wants them; the row's are not kept."""
        return torch.cat([self.keys, key_states], dim=-2), torch.cat([self.values, value_states], dim=-2)


class PrefixStates:
    """
    States of the prefixes seen last, by their tokens and by the weights that computed them.

    Args:
        limit (`int`, *optional*, defaults to 512 MiB):
            Bytes kept at most; a prefix of 400 tokens takes 9 MB of SmolLM2-135M and 52 MB of Mistral-7B in bfloat16.
    """

    def __init__(self, limit: int = 2**29):
        self.limit = limit
        self.kept = {}  # the one used last at the end

    def __reduce__(self):
        return PrefixStates, (self.limit,)  # a copy, or another process, starts without states

    def of(self, model: torch.nn.Module, tokens: np.ndarray, length: int) -> Cache:
        """
        The states of the first `length` tokens of a prefix, computed now if they are not kept.

        Args:
            model (`torch.nn.Module`): an `AutoModel` backbone that can be packed.
            tokens (`np.ndarray`): the whole prefix; its states are kept, so that another call may need more of them.
            length (`int`): how many of them are wanted.

        Returns:
            [`~transformers.Cache`]: what `past_key_values` takes; rows leave it as it is.
        """
        key = (tokens.tobytes(), _weights(model))
        layers = self.kept.pop(key, None)
        if layers is None:
            # Made without the config, it keeps all states of windowed layers too: which of them a token sees is up to
            # the mask.
            states = DynamicCache()
            pool_row(model, plan_rows([tokens], len(tokens))[0], states)
            layers = [(layer.keys, layer.values) for layer in states.layers]
        self.kept[key] = layers
        while sum(state.nbytes for kept in list(self.kept.values()) for layer in kept for state in layer) > self.limit:
            del self.kept[next(iter(self.kept))]
        return Cache(layers=[GivenLayer(keys[:, :, :length], values[:, :, :length]) for keys, values in layers])


@torch.no_grad()
def pool_lists(
    model: torch.nn.Module,
    token_lists: Sequence[Sequence[int]],
    budget: float,
    prefix: Sequence[int] = (),
    kept: PrefixStates | None = None,
    done: Callable[[int], object] | None = None,
) -> torch.Tensor:
    """
    Last hidden states of token lists, each distinct token once, and those of a known prefix at most once.

    Args:
        model (`torch.nn.Module`): an `AutoModel` backbone, plain or with a PEFT adapter.
        token_lists (`Sequence[Sequence[int]]`): whole texts (prompt, text and EOS, tokenised together).
        budget (`float`): the most tokens in a row.
        prefix (`Sequence[int]`, *optional*): tokens of the prompt alone; how many the lists share is found out.
        kept ([`PrefixStates`], *optional*): where states of prefixes are kept for other calls.
        done (`Callable`, *optional*): is told after each row how many lists were in it.

    Returns:
        `torch.Tensor` of shape `(n, d)`, in the dtype of the model, in the order of `token_lists`.

    Raises:
        `ValueError`: if there is no token list, one of them is empty, or the budget is below 1.
    """
    lists, states, length = as_arrays(token_lists), None, 0
    if kept is not None and len(prefix) and can_pack(model.config)[0]:
        tokens = as_arrays([prefix])[0]
        length = min(common(some[:-1], tokens) for some in lists)
        if length > ROW_COST:  # a shorter one costs less in each row than a forward pass of its own
            states = kept.of(model, tokens, length)
            rows = plan_rows([some[length:] for some in lists], budget, start=length)
    if states is None:
        rows = plan(lists, budget, model.config)
    order, pooled = torch.cat([row.texts for row in rows]), []
    for row in rows:
        pooled.append(pool_row(model, row, states))
        if done is not None:
            done(len(row.texts))
    pooled = torch.cat(pooled)
    return pooled[order.argsort().to(pooled.device)]


def _weights(model: torch.nn.Module) -> int:
    """Changes with the weights, and with autocast: states of a model that was trained, moved or given another adapter
    are not its own."""
    tensors = [(p.data_ptr(), p.dtype, 0 if p.is_inference() else p._version) for p in model.parameters()]
    adapters = [
        (layer.disable_adapters, layer.merged, *layer.active_adapters, *layer.scaling.items())
        for layer in model.modules()
        if isinstance(layer, BaseTunerLayer)
    ]
    kind = model.device.type
    autocast = torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind)
    return hash((*tensors, *adapters, autocast))
