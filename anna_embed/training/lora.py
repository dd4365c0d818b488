"""Fused LoRA, fewer passes over the activations: peft's layer, forward and backward as one autograd function.

peft computes `base(x) + lora_B(lora_A(x)) * scaling` as five operations, four of them on tensors of full width, and
keeps what autocast makes on the way. Here the low-rank product is added into the base layer's output by the matrix
product itself, the scaling acts on the rank-`r` side, and the layer's input is all of full width that is kept.
"""

import torch
from peft import LoraConfig
from peft.tuners.lora.layer import Linear
from torch import nn


class LowRankUpdate(torch.autograd.Function):
    """`x W' + b + s (x A') B'` for frozen `W` and `b`, in the dtype of `x`; gradients for `x`, `A` and `B`."""

    @staticmethod
    def forward(ctx, x, weight, bias, lora_a, lora_b, scaling):
        flat = x.reshape(-1, x.shape[-1])
        a, b = lora_a.to(x.dtype), lora_b.to(x.dtype)
        low = (flat @ a.t()).mul_(scaling)
        out = flat @ weight.t() if bias is None else torch.addmm(bias, flat, weight.t())
        ctx.save_for_backward(flat, weight, a, b, low)
        ctx.scaling, ctx.dtypes = scaling, (lora_a.dtype, lora_b.dtype)
        return out.addmm_(low, b.t()).view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx, grad):
        flat, weight, a, b, low = ctx.saved_tensors
        shape, grad = (*grad.shape[:-1], -1), grad.reshape(-1, grad.shape[-1])
        grad_low = (grad @ b).mul_(ctx.scaling)
        grad_x = (grad @ weight).addmm_(grad_low, a).view(shape) if ctx.needs_input_grad[0] else None
        return grad_x, None, None, (grad_low.t() @ flat).to(ctx.dtypes[0]), (grad.t() @ low).to(ctx.dtypes[1]), None


class LoraLinear(Linear):
    """peft's layer: fused for one plain adapter without dropout, peft's own forward for everything else."""

    def forward(self, x: torch.Tensor, *args, **kwargs) -> torch.Tensor:
        base, device = self.base_layer, x.device.type
        autocast = torch.is_autocast_enabled(device)
        dtype = torch.get_autocast_dtype(device) if autocast else x.dtype
        if args or kwargs or not self._is_plain() or base.weight.dtype != dtype:
            return super().forward(x, *args, **kwargs)
        (name,) = self.active_adapters
        a, b = self.lora_A[name].weight, self.lora_B[name].weight
        if not autocast and a.dtype != dtype:  # peft would compute the update in the adapter's dtype
            return super().forward(x)
        with torch.autocast(device, enabled=False):
            return LowRankUpdate.apply(x.to(dtype), base.weight, base.bias, a, b, self.scaling[name])

    def _is_plain(self) -> bool:
        if self.disable_adapters or self.merged or len(self.active_adapters) != 1:
            return False
        name, base = self.active_adapters[0], self.base_layer
        frozen = not any(parameter.requires_grad for parameter in base.parameters())
        no_dropout = not self.training or isinstance(self.lora_dropout[name], nn.Identity)
        plain = name in self.lora_A and name not in self.lora_variant and not self.lora_bias[name]
        return plain and frozen and no_dropout and type(base) is nn.Linear


def fuse_lora(config: LoraConfig) -> LoraConfig:
    """
    Makes a LoRA configuration build [`LoraLinear`] layers, through the hook that peft has for layers of one's own.

    What is saved does not change: adapter files are peft's.

    Args:
        config ([`~peft.LoraConfig`]): any; changed in place.

    Returns:
        [`~peft.LoraConfig`]: the same.
    """
    config._register_custom_module({nn.Linear: LoraLinear})
    return config
