"""What publishing an artifact would do, and every check that can be made before the first byte is written."""

from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, RepoCard, RepoFile, constants, get_token
from huggingface_hub.errors import RepositoryNotFoundError

from anna_embed.artifacts import CARD, read_manifest
from anna_embed.hub.account import hub_failures
from anna_embed.hub.names import ARTIFACTS
from anna_embed.hub.outgoing import Outgoing, collect
from anna_embed.hub.retries import retried
from anna_embed.parsing import RecipeError

HUBS_OWN = {".gitattributes"}


@dataclass
class Plan:
    """What publishing one artifact would do; `print` it to read it.

    Args:
        files (`dict[str, Outgoing]`): Everything that the commit shall hold.
        changed, stale (`list[str]`): What is uploaded, and what is removed.
        is_new (`bool`): The repository has to be created.
        released (`str`, *optional*): The commit of the tag, if it holds exactly these files: nothing is left to do.
        note (`str`): Why the Hub was not asked.
    """

    repo_id: str
    repo_type: str
    tag: str
    private: bool
    files: dict[str, Outgoing]
    changed: list[str]
    stale: list[str]
    is_new: bool = True
    released: str | None = None
    note: str = ""

    def __str__(self):
        shown = "private" if self.private else "public"
        lines = [f"{self.repo_id} ({shown} {self.repo_type}{', would be created' if self.is_new else ''}){self.note}"]
        lines += [f"  upload  {name}  {self.files[name].size:,} bytes" for name in self.changed]
        lines += [f"  remove  {name}" for name in self.stale]
        if self.released:
            return "\n".join([*lines, f"  nothing: tag {self.tag} holds exactly this, at commit {self.released}"])
        size = sum(self.files[name].size for name in self.changed)
        total = (f"  {len(self.changed)} files, {size:,} bytes to upload, {len(self.stale)} to remove, "
                 f"{len(self.files) - len(self.changed)} unchanged; then tag {self.tag}")
        return "\n".join([*lines, total])


def find_artifacts(folder: str, names: list[str]) -> list[Path]:
    """The finished artifacts in a run's folder, parents before their children.

    Raises:
        [`RecipeError`]: there are none, or not the named ones.
    """
    there = [name for name in ARTIFACTS if read_manifest(Path(folder, name))]
    missing = [name for name in names if name not in there]
    if not there:
        raise RecipeError(f"artifacts: '{folder}' holds no finished artifact; run the recipe, or name its folder.")
    if missing:
        raise RecipeError(f"names: '{folder}' holds no finished artifact '{missing[0]}'; it has {', '.join(there)}.")
    return [Path(folder, name) for name in there if not names or name in names]


def not_asked(dry_run: bool) -> str:
    """Why a dry run does not ask the Hub what it holds; empty if it does."""
    why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "" if get_token() else "there is no token"
    return f"; the Hub was not asked what it holds: {why}" if dry_run and why else ""


def prepare(folder: str | Path, repo_id: str, repo_type: str, tag: str, private: bool, release: dict[str, str],
            dry_run: bool = False) -> Plan:
    """Checks everything that can be checked before the first byte is written; reads only.

    Args:
        release (`dict[str, str]`): Each artifact that is published together with this one to `org/name@tag`.
        dry_run (`bool`): Without a token or a network, plan as if the repository did not exist.

    Raises:
        [`RecipeError`]: a folder that [`outgoing.collect`] refuses, a card that the Hub refuses, a repository of other
            visibility, a tag that names something else.
    """
    files = collect(Path(folder), release)
    new = Plan(repo_id, repo_type, tag, private, files, sorted(files), [], note=not_asked(dry_run))
    if new.note:
        return new
    with hub_failures(repo_id):
        _validate_card(folder, files[CARD].source.decode(), repo_type)
        try:
            info = retried(HfApi().repo_info, repo_id, repo_type=repo_type)
        except RepositoryNotFoundError:
            return new
        check_visibility(info, repo_id, private)
        released = retried(tags_of, new).get(tag)
        changed, stale = differences(new, released or info.sha)
    if released and (changed or stale):
        raise RecipeError(f"tag: '{tag}' of {repo_id} already names other content (commit {released[:12]}); a "
                          "tag is never moved; choose another --tag.")
    return Plan(repo_id, repo_type, tag, private, files, changed, stale, False, released)


def check_visibility(info, repo_id, private):
    """Raises [`RecipeError`] unless the repository is as visible as the release is to be."""
    if info.private != private:
        is_now, asked = ("private", "public") if info.private else ("public", "private")
        raise RecipeError(f"private: {repo_id} is {is_now}, and this release is to be {asked}; change the "
                          f"repository's visibility in its settings, or give --private {info.private} or another "
                          "--prefix.")


def differences(plan, revision):
    """Paths that the revision lacks or holds with other bytes, and paths that it holds beyond the plan's."""
    tree = HfApi().list_repo_tree(plan.repo_id, repo_type=plan.repo_type, revision=revision, recursive=True)
    held = {entry.path: entry for entry in tree if isinstance(entry, RepoFile)}
    changed = [name for name, file in plan.files.items() if name not in held or not file.is_at(held[name])]
    return sorted(changed), sorted(held.keys() - plan.files.keys() - HUBS_OWN)


def tags_of(plan) -> dict[str, str]:
    """Tag names and the commits they name."""
    refs = HfApi().list_repo_refs(plan.repo_id, repo_type=plan.repo_type)
    return {tag.name: tag.target_commit for tag in refs.tags}


def _validate_card(folder, text, repo_type):
    try:
        retried(RepoCard(text).validate, repo_type=repo_type)
    except ValueError as error:
        raise RecipeError(f"artifacts: the Hub does not accept the front matter of '{Path(folder, CARD)}' "
                          f"({' '.join(str(error).split())}); mend it, or delete the file to have it "
                          "rendered.") from None
