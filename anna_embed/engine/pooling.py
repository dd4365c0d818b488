"""From hidden states to embeddings: the last token's state, scaled to length one."""

import torch
from torch.nn import functional as F


def last_token_pool(hidden: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    """
    Take the hidden state of each text's last token, whichever side is padded.

    Args:
        hidden (`torch.Tensor` of shape `(b, n, d)`): the last hidden states.
        attention_mask (`torch.Tensor` of shape `(b, n)`): 1 for tokens, 0 for padding; at least one token a line.

    Returns:
        `torch.Tensor` of shape `(b, d)`, in the dtype of `hidden`.
    """
    # argmax finds the first of equals, so the last token is the first from the right.
    from_right = (attention_mask != 0).flip(1).int().argmax(dim=1)
    lines = torch.arange(len(hidden), device=hidden.device)
    return hidden[lines, hidden.shape[1] - 1 - from_right]


def normalize(vectors: torch.Tensor) -> torch.Tensor:
    """
    Scale vectors to Euclidean length one, in float32 whatever the model computes in.

    Args:
        vectors (`torch.Tensor` of shape `(..., d)`): pooled hidden states.

    Returns:
        `torch.Tensor` of shape `(..., d)`, float32; a zero vector stays zero.
    """
    return F.normalize(vectors.float(), dim=-1)
