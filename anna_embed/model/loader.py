"""The model of a command, and what is asked of it."""

from dataclasses import asdict, dataclass

from anna_embed.located import locate
from anna_embed.parsing import RecipeError


@dataclass(frozen=True)
class How:
    """What vectors depend on beside the texts.

    Args:
        model (`str`): A folder or Hub id.
        prompt_name (`str`, *optional*), prompt (`str`, *optional*): As for `encode`.
        document (`bool`): The texts are documents to be found: `encode_document` knows which prompt they get.
        dtype (`str`): Type of the weights; `auto` is what they are stored in.
        truncate_dim (`int`, *optional*): Numbers of a vector that are kept.
    """

    model: str
    prompt_name: str | None = None
    prompt: str | None = None
    document: bool = False
    dtype: str = "auto"
    truncate_dim: int | None = None

    @property
    def made_from(self) -> dict:
        """All but the model's name: its content counts."""
        return {key: value for key, value in asdict(self).items() if key != "model"}


class Loader:
    """The model, located at once and loaded when it is first needed."""

    def __init__(self, how: How, mirror: list[str], device: str | None):
        self.how, self.device, self.model = how, device, None
        self.located = locate("model", how.model, "model", mirror)

    def __call__(self):
        if self.model is None:
            from anna_embed.model.load import load_embedder
            from anna_embed.precision import note_if_slow

            self.model = load_embedder(self.located.path, device=self.device, model_kwargs={"dtype": self.how.dtype})
            dimension = self.model.get_embedding_dimension()
            if (self.how.truncate_dim or 0) > dimension:
                raise RecipeError(f"truncate_dim: {self.how.truncate_dim} is not possible; the model's vectors have "
                                  f"{dimension} numbers: write {dimension} or less.")
            note_if_slow(str(self.model.dtype).removeprefix("torch."), self.model.device.type, "--dtype float32")
        return self.model


def check_prompt_name(model, name: str | None) -> None:
    """Raises [`RecipeError`] unless the model has a prompt of that name."""
    if name is not None and name not in model.prompts:
        raise RecipeError(f"prompt_name: the model has no prompt '{name}'; it has {', '.join(model.prompts)}.")
