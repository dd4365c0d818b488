"""The last layer's feed-forward network, run on the tokens that are pooled only.

Of the last layer's output nothing but each text's last token is looked at, and all that mixes tokens, or is kept of a
prefix, precedes its feed-forward network. Where texts are long, three quarters of that layer are saved in every pass.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from transformers.modeling_layers import GradientCheckpointingLayer


@contextmanager
def on_pooled_tokens(backbone: torch.nn.Module, last: torch.Tensor) -> Iterator[None]:
    """
    Within this context, a stock decoder's output is right for some tokens of a packed row only.

    Args:
        backbone (`torch.nn.Module`): an `AutoModel` backbone, plain or with a PEFT adapter.
        last (`torch.Tensor` of shape `(m,)`, int64): those tokens, in any order; some may be repeated.
    """
    layer = backbone.layers[-1]
    if _must_be_whole(layer):
        yield
        return
    thread, tokens, length = threading.get_ident(), last.unique(), 0

    def select(_, inputs):
        nonlocal tokens, length
        if threading.get_ident() != thread:  # another thread's row, which has hooks of its own
            return None
        tokens, length = tokens.to(inputs[0].device), inputs[0].shape[1]
        return (inputs[0].index_select(1, tokens),)

    def fill_up(_, inputs, output):
        if threading.get_ident() != thread:
            return None
        return output.new_zeros(1, length, output.shape[2]).index_copy(1, tokens, output)

    hooks = layer.mlp.register_forward_pre_hook(select), layer.mlp.register_forward_hook(fill_up)
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _must_be_whole(layer: torch.nn.Module) -> bool:
    """With checkpoints, transformers' or a wrapper's, the layer runs again in the backward pass, outside the context.
    Then passes without gradients run all of it too, so that both round alike; and so does dropout, so that its random
    numbers do not depend on checkpoints."""
    if not isinstance(layer, GradientCheckpointingLayer):
        return True
    dropouts = (module.p for module in layer.mlp.modules() if isinstance(module, torch.nn.Dropout))
    return layer.training and (layer.gradient_checkpointing or any(dropouts))
