"""`LoraLinear` is peft's own layer, computed in fewer steps. The oracle is peft."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from anna_embed.training.lora import LoraLinear, LowRankUpdate, fuse_lora


def layers(dtype=torch.float32, bias=True, **options):
    """The same layer twice, peft's and ours, with an adapter that does something."""
    made = []
    for short in (False, True):
        torch.manual_seed(0)
        config = LoraConfig(r=4, lora_alpha=12, target_modules=["0"], init_lora_weights=False, **options)
        model = nn.Sequential(nn.Linear(24, 16, bias=bias)).to(dtype)
        made.append(get_peft_model(model, fuse_lora(config) if short else config))
    assert isinstance(made[1].base_model.model[0], LoraLinear)
    return made


def outcome(model, autocast=False, dtype=torch.float32):
    """Output, and the gradients of the input and of the adapter, for a loss that weighs every number differently."""
    torch.manual_seed(1)
    x = torch.randn(2, 5, 24, dtype=dtype, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        y = model(x)
    (y.float() * torch.sin(torch.arange(y.numel()).view(y.shape))).sum().backward()
    return [y, x.grad, *(p.grad for p in model.parameters() if p.requires_grad)]


@pytest.mark.parametrize("bias", [True, False])
def test_output_and_gradients_are_those_of_peft(bias):
    """Else the adapter is trained for a model that peft, and everyone who loads it, does not compute."""
    for ours, theirs in zip(*(outcome(model) for model in layers(bias=bias)[::-1])):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_under_autocast_it_is_as_near_to_float32_as_peft_is():
    """Else bf16 training loses digits that peft's would keep."""
    exact = outcome(layers()[0])
    theirs, ours = (outcome(model, autocast=True, dtype=torch.bfloat16) for model in layers(torch.bfloat16))
    for reference, peft, short in zip(exact, theirs, ours):
        assert short.dtype == peft.dtype
        assert (short - reference).norm() <= 1.5 * (peft - reference).norm() + 1e-3 * reference.norm()


def test_gradients_are_the_derivatives():
    """Else training descends another function than the one that is computed."""
    torch.manual_seed(0)
    x, w, a, b = (torch.randn(*shape, dtype=torch.float64, requires_grad=name != "w")
                  for name, shape in {"x": (3, 6), "w": (5, 6), "a": (2, 6), "b": (5, 2)}.items())
    assert torch.autograd.gradcheck(lambda x, a, b: LowRankUpdate.apply(x, w, None, a, b, 0.7), (x, a, b))


@pytest.mark.parametrize("options", [{"lora_dropout": 0.5}, {"use_dora": True}, {"lora_bias": True}])
def test_what_it_does_not_know_is_left_to_peft(options):
    """Else dropout, DoRA or a LoRA bias would silently be without effect."""
    results = []
    for model in layers(**options):
        model.train()
        torch.manual_seed(2)
        results.append(model(torch.ones(2, 24)))
    assert torch.equal(*results)


def test_merged_and_disabled_adapters_are_left_to_peft():
    """Else the export's check of merged against separate weights compares the adapter with itself."""
    x = torch.ones(2, 24)
    _, model = layers()
    with_adapter = model(x)
    with model.disable_adapter():
        assert torch.equal(model(x), model.base_model.model[0].base_layer(x))
    torch.testing.assert_close(model.merge_and_unload()(x), with_adapter, rtol=1e-5, atol=1e-5)
