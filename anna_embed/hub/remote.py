"""What a repository holds at a revision: one attempt each, reads only, nothing kept in a cache."""

import json
import tempfile
from pathlib import Path

from huggingface_hub import HfApi, RepoFile
from huggingface_hub.errors import RemoteEntryNotFoundError, RepositoryNotFoundError

from anna_embed.artifacts import MANIFEST


def files_at(repo: dict[str, str], revision: str) -> dict[str, RepoFile]:
    """Every file by its path, with size and hashes."""
    tree = HfApi().list_repo_tree(**repo, revision=revision, recursive=True)
    return {entry.path: entry for entry in tree if isinstance(entry, RepoFile)}


def tags_of(repo: dict[str, str]) -> dict[str, str]:
    """Tag names and the commits they name."""
    return {tag.name: tag.target_commit for tag in HfApi().list_repo_refs(**repo).tags}


def read_text(repo: dict[str, str], revision: str, name: str) -> str:
    """The text of one file."""
    with tempfile.TemporaryDirectory() as folder:
        path = HfApi().hf_hub_download(**repo, filename=name, revision=revision, local_dir=folder)
        return Path(path).read_text(encoding="utf-8")


def content_of_tag(repo: dict[str, str], tag: str) -> tuple[str | None, str | None]:
    """The commit that a tag names, and the content that the manifest there states; None if there is no such."""
    try:
        commit = tags_of(repo).get(tag)
        return commit, json.loads(read_text(repo, commit, MANIFEST)).get("content") if commit else None
    except (RepositoryNotFoundError, RemoteEntryNotFoundError):
        return None, None
