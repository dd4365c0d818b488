"""The last check before a release gets its tag: what was published is opened as a reader would open it."""

import errno
import hashlib
import os
import platform
import shutil
import tempfile
from pathlib import Path

from huggingface_hub import HfApi

from anna_embed.artifacts import read_manifest
from anna_embed.hub.account import hub_failures
from anna_embed.hub.plan import Plan
from anna_embed.hub.retries import retried
from anna_embed.parsing import RecipeError

HERE = f".reload-{platform.node()}~"  # no host's name has a tilde, and one may begin another


def open_again(plan: Plan) -> None:
    """Downloads the artifact by its id at its commit into an empty cache, and opens it with the stock library.

    Raises:
        [`RecipeError`]: it is not what lies in the folder, or does not open.
    """
    place, state = plan.place, f"commit {plan.place.commit[:12]} is there, tag '{plan.place.tag}' not yet"
    _remove_left_over(plan.folder.parent)
    with tempfile.TemporaryDirectory(dir=plan.folder.parent, prefix=f"{HERE}{os.getpid()}-") as cache:
        with hub_failures(place.repo_id, state):
            path = retried(HfApi().snapshot_download, **plan.repo, revision=place.commit, cache_dir=cache)
        try:
            for name, file in plan.files.items():
                with Path(path, name).open("rb") as stream:
                    if hashlib.file_digest(stream, "sha256").hexdigest() != file.sha256:
                        raise ValueError(f"'{name}' has other bytes than were sent")
            OPEN[place.artifact](path, read_manifest(path), cache)
        except Exception as error:  # whatever a library makes of it: a reader would get the same
            cause = error.__cause__ or error
            if isinstance(cause, OSError) and cause.errno == errno.ENOSPC:
                raise cause from None  # a full disk is no fault of what was published
            raise RecipeError(f"{place.repo_id}: what was published does not open at commit {place.commit[:12]} "
                              f"({' '.join(str(error).split())}), so it is not tagged; mend '{plan.folder}' and run "
                              "the same command again.") from error


def _remove_left_over(run):
    """What publishers that were killed on this machine have downloaded: whole copies of artifacts."""
    for left in run.glob(f"{HERE}*"):
        try:
            os.kill(int(left.name.removeprefix(HERE).partition("-")[0]), 0)  # 0: is there such a process?
        except ProcessLookupError:
            shutil.rmtree(left, ignore_errors=True)
        except PermissionError:  # there is, another user's
            pass


def _dataset(path, manifest, cache):
    from datasets import load_dataset

    for config, splits in manifest.get("files", {}).items():
        opened = load_dataset(path, config, cache_dir=cache)
        rows = {split: opened[split].num_rows for split in splits}
        if rows != manifest["rows"][config]:
            raise ValueError(f"'{config}' has {rows} rows, its manifest states {manifest['rows'][config]}")


def _adapter(path, manifest, cache):
    from peft import PeftConfig
    from peft.utils import load_peft_weights

    PeftConfig.from_pretrained(path)
    _finite(weight.float().abs().sum().item() for weight in load_peft_weights(path, device="cpu").values())


def _model(path, manifest, cache):
    from sentence_transformers import SentenceTransformer

    _finite(SentenceTransformer(path, device="cpu").encode_query("a text").tolist())


def _reranker(path, manifest, cache):
    from sentence_transformers import CrossEncoder

    _finite(CrossEncoder(path, device="cpu").predict([("a query", "a passage")]).tolist())


def _finite(numbers):
    if not all(abs(number) < float("inf") for number in numbers):  # a NaN is not below anything
        raise ValueError("it gives numbers that are not finite")


OPEN = {"pairs": _dataset, "scores": _dataset, "triplets": _dataset, "results": _dataset, "adapter": _adapter,
        "model": _model, "reranker": _reranker}
