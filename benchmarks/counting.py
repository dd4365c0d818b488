"""What a step is made of: the operations of its matrix products, the positions it encodes, and where its time goes."""

from collections import Counter
from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

aten = torch.ops.aten
PRODUCTS = flop_registry | {  # what torch's own table leaves out
    aten.addmm_: flop_registry[aten.addmm],
    aten._scaled_dot_product_flash_attention_for_cpu: flop_registry[aten._scaled_dot_product_flash_attention],
    aten._scaled_dot_product_flash_attention_for_cpu_backward:
        flop_registry[aten._scaled_dot_product_flash_attention_backward],
}

# Kinds of operations, by a part of their names in the profiler; the first that fits counts.
KINDS = {
    "matrix products": ("mm", "linear", "matmul", "dot"),
    "attention": ("scaled_dot_product", "flash_attention"),
    "softmax": ("softmax",),
    "casts and copies": ("copy_", "to_copy", "clone", "contiguous", "cat"),
    "gather and scatter": ("index", "gather", "scatter", "embedding"),
    "multiplications": ("mul",),
    "additions": ("add", "sub", "sum"),
    "norms and activations": ("pow", "mean", "rsqrt", "silu", "sigmoid", "exp", "div", "norm", "neg", "sin", "cos"),
    "memory": ("empty", "zero", "fill", "ones", "resize"),
    "optimizer": ("adam", "foreach", "lerp"),
}


class Operations(TorchDispatchMode):
    """Counts floating-point operations of matrix products and attention, backward passes included."""

    total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **kwargs or {})
        formula = PRODUCTS.get(func._overloadpacket)
        if formula is not None:
            self.total += formula(*args, **kwargs or {}, out_val=out)
        return out


def count(step: Callable, model: torch.nn.Module) -> dict[str, int]:
    """
    Runs a step once and counts.

    Args:
        step (`Callable`): one training step of the model.
        model (`torch.nn.Module`): whose embedding layer sees every position that is encoded.

    Returns:
        `dict`: `operations` of matrix products and attention; `positions` run through the model, padding and each
        further forward pass included.
    """
    positions = Counter()
    layer = next(module for module in model.modules() if isinstance(module, torch.nn.Embedding))
    hook = layer.register_forward_pre_hook(lambda _, args: positions.update(all=args[0].numel()))
    with Operations() as counted:
        step()
    hook.remove()
    return {"operations": counted.total, "positions": positions["all"]}


def where_time_goes(step: Callable) -> dict[str, dict[str, float]]:
    """
    Profiles a step.

    Args:
        step (`Callable`): to run once, warmed up before.

    Returns:
        `dict`: shares of the time in operations, of each of `KINDS` under `kinds` and of the slowest single operations
        under `operations`, largest first.
    """
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        step()
    times = Counter({event.key: event.self_cpu_time_total for event in profiler.key_averages()
                     if event.key.startswith("aten::")})
    kinds = Counter()
    for name, time in times.items():
        kinds[_kind(name)] += time
    total = max(times.total(), 1)
    return {"kinds": {name: round(time / total, 3) for name, time in kinds.most_common()},
            "operations": {name: round(time / total, 3) for name, time in times.most_common(12)}}


def _kind(name):
    return next((kind for kind, parts in KINDS.items() if any(part in name for part in parts)), "other")
