"""Where an input is: a local folder or file, a folder of a mirror, or a repository of the Hub at a commit."""

import hashlib
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from huggingface_hub import metadata_load
from yaml import YAMLError

from anna_embed.digests import digest
from anna_embed.fetch import fetch
from anna_embed.parsing import RecipeError

HUB_ID = re.compile(r"[A-Za-z0-9_][\w.-]*/[\w.-]+")


@dataclass(frozen=True)
class Located:
    """Where an input is: a local `path`, or (a source dataset on the Hub) its id; `digest` names its content."""

    reference: str
    path: str
    digest: str
    commit: str | None = None


def locate(key: str, reference: str, repo_type: str, mirrors: list[str], download: bool = True) -> Located:
    """Finds a folder, file or Hub id (`org/name` or `org/name@revision`).

    Args:
        key (`str`): The key of the recipe that names it, for the error message.
        reference (`str`): A local path, or a Hub id.
        repo_type (`str`): `"model"` or `"dataset"`.
        mirrors (`list[str]`): Looked through in order; if there is one, the network is never asked.
        download (`bool`): False for datasets that `load_dataset` fetches itself, file by file.

    Raises:
        [`RecipeError`]: nothing is there, or a mirror is no folder.
    """
    if not reference.strip():
        raise RecipeError(f"{key}: names nothing; give a folder or a Hub id (org/name).")
    for mirror in mirrors:
        if not Path(mirror).is_dir():
            raise RecipeError(f"mirror: there is no folder '{mirror}'; give one that holds models/<org>/<name> and "
                              "datasets/<org>/<name>.")
    if Path(reference).exists():
        return Located(reference, reference, digest(Path(reference)))
    name, _, revision = reference.partition("@")
    for mirror in mirrors:
        path = Path(mirror) / f"{repo_type}s" / name
        if HUB_ID.fullmatch(name) and path.is_dir():
            return Located(reference, str(path), digest(path))
    beside = Path(name.split("/")[0])
    if not HUB_ID.fullmatch(name) or beside.name == "artifacts" or (beside.is_dir() and not revision):
        raise RecipeError(f"{key}: there is nothing at '{reference}'; run the stage that makes it, or give a folder "
                          "or a Hub id: org/name, or org/name@main if a folder here is called like its organisation.")
    if mirrors:
        raise RecipeError(f"{key}: no mirror holds the {repo_type} '{name}' (looked for {repo_type}s/{name} in "
                          f"{', '.join(mirrors)}); put it there, or leave --mirror out to read it from the Hub.")
    path, commit = fetch(key, name, revision or None, repo_type, download)
    return Located(reference, path, f"hub:{commit}", commit)


def differ(one: str, other: str) -> bool:
    """Whether two digests name other content; False where a folder's and a commit of the Hub cannot be compared."""
    return one != other and one.startswith("hub:") == other.startswith("hub:")


def at_commit(base_model: dict[str, Any]) -> str:
    """The reference of a base model that a manifest names, at the commit that it was used at, if it has one."""
    name, commit = base_model["name"], base_model.get("commit")
    return f"{name.partition('@')[0]}@{commit}" if commit else name


def with_splits(key: str, at: Located) -> Located:
    """A dataset as [`locate`] found it, its digest of its splits, too: a folder's digest leaves its card out, but
    that says which file is which split, and what its classes are called.

    Raises:
        [`RecipeError`]: the card's YAML is broken.
    """
    card = Path(at.path, "README.md")
    try:
        stated = (metadata_load(card) or {}) if card.is_file() else {}
    except (YAMLError, ValueError) as error:
        raise RecipeError(f"{key}: '{card}' begins with what is no valid YAML ({' '.join(str(error).split())}); mend "
                          "it, or take it out.") from None
    told = {key: stated[key] for key in ("configs", "dataset_info") if key in stated}
    if not told:
        return at
    content = json.dumps([at.digest, told], sort_keys=True, default=str)
    return replace(at, digest=hashlib.sha256(content.encode()).hexdigest())
