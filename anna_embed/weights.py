"""Whether the files of a model hold all of its weights."""

from transformers import PreTrainedModel

from anna_embed.parsing import RecipeError

SHOWN = 3  # names in a sentence


def check_weights(model, path: str, key: str) -> None:
    """
    Refuses a model of which a part was made up.

    What its files lack transformers draws at random, in each process anew, with no more than a warning. It marks the
    weights that it has read or tied to one that it has read: whatever the files are called and wherever they are.

    Args:
        model ([`~transformers.PreTrainedModel`]): As `from_pretrained` gave it. The pooler of a bare encoder does not
            count: many are stored without, and sentence-transformers does not use it.
        path (`str`): Where the model is.
        key (`str`): The recipe's key that names it.

    Raises:
        [`RecipeError`]: it lacks weights; names them.
    """
    if type(model).from_pretrained.__func__ is not PreTrainedModel.from_pretrained.__func__:
        return  # code of the model's own repository that reads the weights itself, and marks none
    lost = [name for name, weight in model.named_parameters()
            if not getattr(weight, "_is_hf_initialized", False) and not name.startswith("pooler.")]
    if lost:
        more = f" and {len(lost) - SHOWN} more" if len(lost) > SHOWN else ""
        raise RecipeError(f"{key}: '{path}' lacks the weights {', '.join(lost[:SHOWN])}{more}, which would be drawn "
                          "at random; fetch it again, or name a whole model.")
