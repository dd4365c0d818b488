"""An adapter's folder, read whole or refused: of weights that are missing peft warns, and takes fresh ones."""

from pathlib import Path
from pickle import UnpicklingError

import torch
from peft import PeftConfig, PeftModel, get_peft_model_state_dict, load_peft_weights
from peft.utils import CONFIG_NAME, SAFETENSORS_WEIGHTS_NAME, WEIGHTS_NAME
from safetensors import SafetensorError

from anna_embed.parsing import RecipeError, in_short


def read_config(folder: str) -> PeftConfig:
    """The configuration of an adapter.

    Raises:
        [`RecipeError`]: there is none, or peft cannot read it.
    """
    if not Path(folder, CONFIG_NAME).is_file():
        raise RecipeError(f"adapter: '{folder}' holds no {CONFIG_NAME}; name an adapter's folder.")
    try:
        return PeftConfig.from_pretrained(folder)
    except (ValueError, TypeError, KeyError) as error:
        raise RecipeError(f"adapter: peft cannot read '{folder}/{CONFIG_NAME}' ({in_short(error)}); fetch the adapter "
                          "again, or name another.") from None


def read_weights(folder: str) -> dict[str, torch.Tensor]:
    """The weights of an adapter, by the names that they have in its file.

    Raises:
        [`RecipeError`]: there are none, or they are damaged.
    """
    if not any(Path(folder, name).is_file() for name in (SAFETENSORS_WEIGHTS_NAME, WEIGHTS_NAME)):
        raise RecipeError(f"adapter: '{folder}' holds no {SAFETENSORS_WEIGHTS_NAME}; fetch it again.")
    try:
        return load_peft_weights(folder, device="cpu")
    except (SafetensorError, UnpicklingError, EOFError, RuntimeError) as error:
        raise RecipeError(f"adapter: the weights of '{folder}' are damaged ({in_short(error, 100)}); fetch "
                          "it again.") from None


def put_on(model: torch.nn.Module, folder: str, config: PeftConfig, name: str = "default",
           is_trainable: bool = False) -> PeftModel:
    """
    Puts an adapter on a base model, beside those that are on it.

    Args:
        model (`torch.nn.Module`): the base model, or what this function made of it.
        folder (`str`): of the adapter.
        config ([`~peft.PeftConfig`]): that of the folder.
        name (`str`, *optional*, defaults to `"default"`): what the adapter is called in the model.
        is_trainable (`bool`, *optional*, defaults to `False`): whether it is to be trained on.

    Raises:
        [`RecipeError`]: its weights are damaged, do not fit the model, or are not all there.
    """
    there = read_weights(folder)
    try:
        if isinstance(model, PeftModel):
            model.load_adapter(folder, name, is_trainable, torch_device="cpu")
        else:
            model = PeftModel.from_pretrained(model, folder, name, is_trainable, config, torch_device="cpu")
    except (RuntimeError, ValueError) as error:
        raise RecipeError(f"adapter: '{folder}' does not fit the base '{model.name_or_path}' ({in_short(error)}); "
                          "name the base that it was trained on.") from None
    here = get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False)
    if here.keys() != there.keys():
        raise RecipeError(f"adapter: '{folder}' has weights of other names than an adapter of this base model, or not "
                          f"all of them (for example {min(here.keys() ^ there.keys())}); fetch it again, or name one "
                          "that was trained here, or by peft on AutoModel.")
    return model


def not_finite(model: torch.nn.Module) -> list[str]:
    """Names of the trainable weights that hold a NaN or an infinity."""
    return [name for name, weight in model.named_parameters() if weight.requires_grad and not weight.isfinite().all()]
