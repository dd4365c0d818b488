"""`ScaledByRMS` is the stock models' RMSNorm, computed in fewer steps. The oracle is transformers."""

import copy
from functools import partial

import pytest
import torch
from tiny import trainer
from torch import nn
from transformers.models.exaone4.modeling_exaone4 import Exaone4RMSNorm
from transformers.models.glm4.modeling_glm4 import Glm4RMSNorm
from transformers.models.granite.modeling_granite import GraniteRMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.ministral3.modeling_ministral3 import Ministral3RMSNorm
from transformers.models.ministral.modeling_ministral import MinistralRMSNorm
from transformers.models.mistral.modeling_mistral import MistralRMSNorm
from transformers.models.mixtral.modeling_mixtral import MixtralRMSNorm
from transformers.models.olmo2.modeling_olmo2 import Olmo2RMSNorm
from transformers.models.phi3.modeling_phi3 import Phi3RMSNorm
from transformers.models.qwen2.modeling_qwen2 import Qwen2RMSNorm
from transformers.models.qwen2_moe.modeling_qwen2_moe import Qwen2MoeRMSNorm
from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm
from transformers.models.qwen3_moe.modeling_qwen3_moe import Qwen3MoeRMSNorm
from transformers.models.smollm3.modeling_smollm3 import SmolLM3RMSNorm

from anna_embed.training.norms import STOCK, fuse_norms

CLASSES = [Exaone4RMSNorm, Glm4RMSNorm, GraniteRMSNorm, LlamaRMSNorm, Ministral3RMSNorm, MinistralRMSNorm,
           MistralRMSNorm, MixtralRMSNorm, Phi3RMSNorm, Qwen2RMSNorm, Qwen2MoeRMSNorm, Qwen3RMSNorm, Qwen3MoeRMSNorm,
           SmolLM3RMSNorm]


def both(kind=LlamaRMSNorm, dtype=torch.float32):
    """The same norm twice, the stock one and ours, with a frozen weight that does something."""
    torch.manual_seed(0)
    stock = kind(24).requires_grad_(False)
    nn.init.normal_(stock.weight, 1, 0.5)
    stock.to(dtype)
    return stock, fuse_norms(nn.Sequential(copy.deepcopy(stock)))[0]


def outcome(norm, dtype):
    torch.manual_seed(1)
    x = torch.randn(2, 5, 3, 24).mul_(4).to(dtype).requires_grad_()
    y = norm(x)
    (y.float() * torch.sin(torch.arange(y.numel()).view(y.shape))).sum().backward()
    return y.detach(), x.grad


@pytest.mark.parametrize("kind", CLASSES)
def test_output_and_gradient_are_those_of_the_stock_norm(kind):
    """Else the adapter is trained for a model that transformers does not compute."""
    assert kind.__name__ in STOCK
    (y, grad), (ours, our_grad) = (outcome(norm, torch.float32) for norm in both(kind))
    assert torch.equal(ours, y)
    torch.testing.assert_close(our_grad, grad, rtol=1e-5, atol=1e-6)


def test_every_class_that_is_shortened_is_compared():
    """Else a norm that rounds elsewhere is taken for one of these."""
    assert {kind.__name__ for kind in CLASSES} == STOCK


def test_bfloat16_is_rounded_where_the_stock_norm_rounds():
    """Else vectors in training are not those that the exported model gives."""
    (_, exact), (y, grad), (ours, our_grad) = (outcome(norm, dtype) for norm, dtype in zip(
        [both()[0], *both(dtype=torch.bfloat16)], [torch.float32, torch.bfloat16, torch.bfloat16]))
    assert torch.equal(ours, y)
    assert our_grad.dtype == grad.dtype and (our_grad - exact).norm() <= 1.1 * (grad - exact).norm()


def test_what_it_does_not_know_is_left_to_the_stock_norm():
    """Else a norm that is trained (`lora_modules_to_save`) would stay as it was, and OLMo's be rounded wrongly."""
    _, norm = both()
    norm.weight.requires_grad_()
    outcome(norm, torch.float32)
    assert norm.weight.grad is not None
    _, other = both(Olmo2RMSNorm)
    assert "forward" not in vars(other)
    _, mixed = both()
    assert outcome(mixed.bfloat16(), torch.float32)[0].dtype == torch.float32


def test_autocast_around_the_backward_pass_changes_nothing():
    """Else who calls `backward` within autocast loses digits."""
    _, norm = both()
    x = torch.randn(5, 24, requires_grad=True)
    norm(x).square().sum().backward()
    outside, x.grad = x.grad, None
    with torch.autocast("cpu", torch.bfloat16):
        norm(x).square().sum().backward()
    assert torch.equal(x.grad, outside)


def test_what_somebody_else_has_replaced_is_left_to_them():
    """Else a kernel of the Hub, or the hook that fetches offloaded weights, is lost."""
    norm = LlamaRMSNorm(24)
    norm.forward = theirs = norm.forward
    fuse_norms(nn.Sequential(norm))
    assert norm.forward is theirs


def test_the_trainer_shortens_them(tiny_model, tmp_path):
    """Else all of this is for nothing."""
    made = trainer(tiny_model, tmp_path)
    norms = [module for module in made.model.modules() if type(module).__name__ in STOCK]
    assert norms and all(isinstance(vars(norm)["forward"], partial) for norm in norms)


def test_a_copy_computes_with_its_own_weight():
    """Else a model that is copied, to be merged or compared, is half of the other."""
    norm = both()[1]
    copied = copy.deepcopy(norm)
    nn.init.zeros_(copied.weight)
    assert not copied(torch.ones(24)).any() and norm(torch.ones(24)).any()
