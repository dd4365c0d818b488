"""Models and datasets from the Hub, or the promise that nothing is asked of it."""

import errno
import os
from pathlib import Path

from anna_embed.parsing import RecipeError

# Copies of the same weights in formats that nothing here reads; a repository may hold five of them.
OTHER_FORMATS = ["*.h5", "*.msgpack", "*.ot", "*.onnx", "*.gguf", "*.tflite", "onnx/*", "openvino/*", "coreml/*",
                 "original/*", "consolidated*"]
TORCH = "pytorch_model*.bin"  # not fetched where there are safetensors


def fetch(key: str, name: str, revision: str | None, repo_type: str, download: bool) -> tuple[str, str]:
    """A repository's files at one commit.

    Args:
        key (`str`): The key of the recipe that names it, for the error message.
        name (`str`), revision (`str`, *optional*): `org/name`, and a tag, branch or commit.
        repo_type (`str`): `"model"` or `"dataset"`.
        download (`bool`): Whether to fetch the files.

    Returns:
        `tuple[str, str]`: the local folder (the name, if nothing is fetched) and the commit.

    Raises:
        [`RecipeError`]: it cannot be read.
    """
    from huggingface_hub import HfApi, constants, snapshot_download
    from huggingface_hub.errors import HFValidationError, OfflineModeIsEnabled
    from huggingface_hub.utils import httpx

    try:
        ignored = OTHER_FORMATS if repo_type == "model" else []
        if constants.HF_HUB_OFFLINE and download:
            return _fetched_before(name, ignored, repo_type=repo_type, revision=revision)
        info = HfApi().repo_info(name, repo_type=repo_type, revision=revision)
        if not download:
            return name, info.sha
        if any(file.rfilename.endswith(".safetensors") for file in info.siblings):
            ignored = [*ignored, TORCH]
        # Asked for by its branch or tag, so that the cache knows what that was when there is no network.
        path = snapshot_download(name, repo_type=repo_type, revision=revision, ignore_patterns=ignored)
        return path, path.rpartition("/")[2]
    except (httpx.HTTPError, OfflineModeIsEnabled, HFValidationError, OSError) as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise  # a full disk is no fault of the name
        reason = str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
        at = f"{name}@{revision}" if revision else name
        if constants.HF_HUB_OFFLINE:
            remedy = "fetch it once without HF_HUB_OFFLINE" if download else "unset HF_HUB_OFFLINE"
            raise RecipeError(f"{key}: the {repo_type} '{at}' is no folder here, and HF_HUB_OFFLINE is set "
                              f"({reason}); {remedy}, or give --mirror.") from None
        raise RecipeError(f"{key}: the {repo_type} '{at}' is neither a folder here nor readable from the Hub "
                          f"({reason}); check the name, log in with `hf auth login`, or give --mirror.") from None


def _fetched_before(name, ignored, **where) -> tuple[str, str]:
    """What an earlier run has put into the cache, whose folder is named by the commit."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        path = snapshot_download(name, ignore_patterns=ignored, **where)
    except LocalEntryNotFoundError:  # where there are safetensors, those were not fetched
        path = snapshot_download(name, ignore_patterns=[*ignored, TORCH], **where)
        if not any(Path(path).glob("*.safetensors")):
            raise
    return path, path.rpartition("/")[2]


def go_offline() -> None:
    """With a mirror nothing may touch the network: call it before the libraries that would are imported."""
    import huggingface_hub.constants
    import huggingface_hub.utils

    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY"):
        os.environ[name] = "1"
    huggingface_hub.constants.HF_HUB_OFFLINE = True
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"  # nothing is downloaded: only loading of weights would show
    huggingface_hub.utils.disable_progress_bars()
