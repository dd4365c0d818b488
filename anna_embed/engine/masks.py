"""Who sees whom in a packed row, and which models can be told so."""

import math

import torch

from .attention import IMPLEMENTATION


# Decoders whose every token depends on its ancestors alone through rotary attention, so that packing is exact on the
# stock code. Each is compared with separate encoding in tests/engine: add a type here and the tests cover it.
PACKABLE = frozenset(
    ["cohere2", "exaone4", "gemma", "gemma2", "gemma3_text", "glm4", "granite", "llama", "ministral", "ministral3"]
    + ["mistral", "mixtral", "olmo2", "olmo3", "phi3", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "smollm3"]
    + ["stablelm", "starcoder2"]
)
# Their layers do not hand on to attention what they do not know, so that it would never see the blocks.
DENSE = frozenset(["stablelm"])


def can_pack(config) -> tuple[bool, str]:
    """
    Tell whether a model can encode packed rows; those that cannot are padded (`padding.plan_padded`).

    Args:
        config ([`~transformers.PreTrainedConfig`]): the config of the loaded model.

    Returns:
        `tuple[bool, str]`: whether it can, and if not a reason that completes the sentence "it cannot be packed: ...".
    """
    settings = config.to_dict()
    bidirectional = settings.get("use_bidirectional_attention") or not settings.get("is_causal", True)
    if bidirectional or settings.get("is_encoder_decoder"):
        return False, "its attention is bidirectional, so a prefix depends on what follows it"
    strange = sorted(set(_layer_types(settings)) - {"full_attention", "sliding_attention"})
    if strange:
        return False, f"it has layers of the type {', '.join(strange)}, which no attention mask reaches"
    if settings["model_type"] not in PACKABLE:
        return False, (
            f"models of the type {settings['model_type']} (encoders, ALiBi, recurrent, multimodal or not yet tested) "
            f"are not among {', '.join(sorted(PACKABLE))}"
        )
    if config._attn_implementation not in (None, "eager", "sdpa", IMPLEMENTATION):
        return False, f"{config._attn_implementation} takes no 4-D mask; load it with attn_implementation='sdpa'"
    return True, ""


def same_alone(config) -> float:
    """
    Up to how many tokens a text has the same states alone as beside longer ones.

    Two rotary encodings choose their frequencies anew for the longest text of each forward pass.

    Args:
        config ([`~transformers.PreTrainedConfig`]): the config of the loaded model.

    Returns:
        `float`: that number, infinite for all other models.
    """
    settings = config.get_text_config().to_dict()
    rope = settings.get("rope_parameters") or {}
    limits = [math.inf]
    for each in [rope, *(layers for layers in rope.values() if isinstance(layers, dict))]:  # some differ by layer
        kind = each.get("rope_type", "default")
        if kind == "dynamic":
            limits.append(settings["max_position_embeddings"])
        elif kind == "longrope":
            limits.append(each["original_max_position_embeddings"])
    return min(limits)


def attention_mask(
    row, config, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> torch.Tensor | dict[str, torch.Tensor]:
    """
    Build the additive mask of a packed row: each token sees its ancestors and itself.

    A 4-D mask replaces the one the model would have made, its sliding window included. A window therefore has to be in
    it, and counts positions, not indices in the row.

    Args:
        row ([`~anna_embed.engine.Row`]): the packed row of `n` tokens.
        config ([`~transformers.PreTrainedConfig`]): the model's config; says which layers see a window only.
        dtype (`torch.dtype`, *optional*, defaults to `torch.float32`): the dtype attention is computed in.
        device (`torch.device` or `str`, *optional*, defaults to `"cpu"`): where to build it.

    Returns:
        `torch.Tensor` of shape `(1, 1, n, start + n)`, 0 where a token is seen and -inf elsewhere; for a model with
        both kinds of layers a `dict` of two of them under `full_attention` and `sliding_attention`.

    Raises:
        `KeyError`: if the model has layers that [`can_pack`] refuses, or windowed layers but no window.
    """
    exits, positions = row.exits.to(device), row.position_ids.to(device)
    entries = torch.arange(len(exits), device=device)
    ancestors = (entries <= entries[:, None]) & (entries[:, None] < exits)
    ancestors = torch.cat([ancestors.new_ones(len(exits), row.start), ancestors], 1)
    return _by_layer(ancestors, positions[:, None] - row.key_positions.to(device), config, dtype)


def block_mask(
    row, blocks, config, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> torch.Tensor | dict[str, torch.Tensor]:
    """
    Build the additive mask of a packed row for [`~anna_embed.engine.attention.block_attention`].

    Args:
        row ([`~anna_embed.engine.Row`]): the packed row.
        blocks ([`~anna_embed.engine.blocks.Blocks`]): its blocks.
        config, dtype, device: as for [`attention_mask`].

    Returns:
        As [`attention_mask`], but of shape `(1, 1, 1, s)`: the masks of all groups of blocks, one after the other. For
        layers with a window they are followed by that of the prefix, `n` times `start`; without one all of it is seen.
    """
    seen, distance = [], []
    for group in blocks.groups:
        queries, keys = (row.position_ids[part].view(len(group.seen), -1) for part in (group.queries, group.keys))
        seen.append(group.seen.flatten())
        distance.append((queries[:, :, None] - keys[:, None, :]).flatten())
    prefix = len(row.position_ids) * row.start
    seen.append(torch.ones(prefix, dtype=torch.bool))
    distance.append((row.position_ids[:, None] - torch.arange(row.start)).flatten())
    return _by_layer(torch.cat(seen)[None].to(device), torch.cat(distance)[None].to(device), config, dtype, prefix)


def _by_layer(ancestors, distance, config, dtype, prefix=0) -> torch.Tensor | dict[str, torch.Tensor]:
    """The mask of each kind of layers: what is seen of the ancestors, given how many positions away they are. The last
    `prefix` entries are for layers with a window only."""
    settings = config.to_dict()
    seen = {"full_attention": ancestors[:, : ancestors.shape[1] - prefix]}
    if settings.get("sliding_window") is not None:
        seen["sliding_attention"] = ancestors & (distance < settings["sliding_window"])
    # A float mask made once, not a boolean one: SDPA would turn that into floats again in every layer, and keep each
    # for the backward pass; eager attention would add True as 1.
    masks = {kind: _additive(seen[kind], dtype) for kind in sorted(set(_layer_types(settings)))}
    # Every model takes a plain mask for all its layers; only those with mixed layers know what a dict is.
    return masks if len(masks) > 1 else masks.popitem()[1]


def _layer_types(settings: dict) -> list[str]:
    """The attention of each layer, as the models themselves decide it (`transformers.masking_utils`)."""
    if settings.get("layer_types") is not None:
        return settings["layer_types"]
    return ["full_attention" if settings.get("sliding_window") is None else "sliding_attention"]


def _additive(seen: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """0 where `seen`, -inf elsewhere: autocast may cast it, and no softmax is empty, as each token sees itself."""
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, float("-inf"))[None, None]
