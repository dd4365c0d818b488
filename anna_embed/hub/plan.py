"""What publishing an artifact would do, and every check that can be made before the first byte is written."""

from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from pathlib import Path

from huggingface_hub import HfApi, constants, get_token
from huggingface_hub.errors import BadRequestError, RepositoryNotFoundError
from huggingface_hub.utils import get_session, hf_raise_for_status

from anna_embed.artifacts import ARTIFACTS, CARD, read_manifest
from anna_embed.hub.account import hub_failures
from anna_embed.hub.names import Place
from anna_embed.hub.outgoing import Outgoing, collect, described
from anna_embed.hub.remote import content_of_tag, files_at, read_text, tags_of
from anna_embed.hub.retries import retried
from anna_embed.hub.scores import RESULTS
from anna_embed.parsing import RecipeError

# What a release does not remove, though it is not ours: the Hub's own file, terms that the owner has added, and scores
# that others have handed in.
SPARED = (".gitattributes", "LICENSE*", "LICENCE*", "NOTICE*", f"{Path(RESULTS).parent}/*")


@dataclass
class Plan:
    """What publishing one artifact would do; `print` it to read it.

    Args:
        folder (`Path`): The artifact.
        release (`dict[str, Place]`): Where each artifact of the release is or goes, shared by all plans of a release;
            a commit is filled in as soon as it is known.
        files (`dict[str, Outgoing]`): Everything that the commit shall hold.
        held (`dict[str, int]`): What the repository holds: sizes in bytes.
        changed, stale (`list[str]`): What is uploaded, and what is removed.
        is_new (`bool`): The repository has to be created.
        released (`str`, *optional*): The commit of the tag, if it holds exactly these files: nothing is left to do.
        note (`str`): Why the Hub was not asked.
    """

    folder: Path
    release: dict[str, Place]
    private: bool
    files: dict[str, Outgoing]
    held: dict[str, int] = field(default_factory=dict)
    changed: list[str] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)
    is_new: bool = True
    released: str | None = None
    note: str = ""

    @property
    def place(self) -> Place:
        return self.release[self.folder.name]

    @property
    def repo(self) -> dict[str, str]:
        """The repository, as the client's methods want it named."""
        return {"repo_id": self.place.repo_id, "repo_type": self.place.repo_type}

    @property
    def upload_size(self) -> int:
        return sum(self.files[name].size for name in self.changed)

    def learn(self, commit: str) -> None:
        """From now on the artifacts made from this one name it by this commit."""
        self.release[self.folder.name] = replace(self.place, commit=commit)

    def describe(self, others: str = "") -> None:
        """Writes manifest and card anew, with what is known by now; `others` is the published card."""
        self.files |= described(self.folder, read_manifest(self.folder), self.release, others)

    def compare(self, revision: str) -> bool:
        """Finds what has to be uploaded and removed to turn `revision` into this artifact; True if nothing has.

        One attempt, reads only. What others have added to the card's front matter is taken over.
        """
        held = files_at(self.repo, revision)
        if CARD in held and not self.files[CARD].is_at(held[CARD]):
            self.describe(read_text(self.repo, revision, CARD))
        self.held = {name: file.size for name, file in held.items()}
        self.changed = sorted(n for n, file in self.files.items() if n not in held or not file.is_at(held[n]))
        self.stale = sorted(name for name in held.keys() - self.files.keys()
                            if name == RESULTS or not any(fnmatch(name, pattern) for pattern in SPARED))
        return not self.changed and not self.stale

    def __str__(self):
        shown = f"{'private' if self.private else 'public'} {self.place.repo_type}"
        lines = [f"{self.place.repo_id} ({shown}{', would be created' if self.is_new else ''}){self.note}"]
        if self.released:
            return f"{lines[0]}\n  nothing: tag {self.place.tag} holds exactly this, at commit {self.released}"
        for name in self.changed:
            before = f" (now {self.held[name]:,})" if name in self.held else ""
            lines.append(f"  {'change' if before else 'upload'}  {name}  {self.files[name].size:,} bytes{before}")
        lines += [f"  remove  {name}  {self.held[name]:,} bytes" for name in self.stale]
        return "\n".join([*lines, f"  {len(self.changed)} files, {self.upload_size:,} bytes to upload, "
                          f"{len(self.stale)} to remove, {len(self.files) - len(self.changed)} unchanged; "
                          f"then tag {self.place.tag}"])


def plan_release(run: str, names: list[str], namespace: str, prefix: str, tag: str, private: bool = True,
                 dry_run: bool = False) -> list[Plan]:
    """Plans for the finished artifacts in a run's folder, parents before their children.

    Args:
        names (`list[str]`): Those to publish; all of them by default. The others are named by their Hub ids where they
            have been published with this tag.
        dry_run (`bool`): Without a token, or with HF_HUB_OFFLINE, plan as if the repositories did not exist.

    Raises:
        [`RecipeError`]: there are none, not the named ones, or what [`prepare`] refuses.
    """
    there = [name for name in ARTIFACTS if read_manifest(Path(run, name))]
    missing = [name for name in names if name not in there]
    if not there:
        raise RecipeError(f"artifacts: '{run}' holds no finished artifact; run the recipe, or name its folder.")
    if missing:
        raise RecipeError(f"names: '{run}' holds no finished artifact '{missing[0]}'; it has {', '.join(there)}.")
    places = {name: Place(name, f"{namespace}/{prefix}-{name}", tag) for name in there}
    release = {name: places[name] for name in there if not names or name in names}
    chosen = list(release)
    for name in there if not offline_reason(dry_run) else []:
        if name not in chosen and (commit := published(Path(run, name), places[name])):
            release[name] = replace(places[name], commit=commit)
    return [prepare(Path(run, name), release, private, dry_run) for name in chosen]


def offline_reason(dry_run: bool) -> str:
    """Why a dry run plans without asking the Hub what it holds; empty if the Hub is asked."""
    why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "" if get_token() else "there is no token"
    return f"; the Hub was not asked what it holds: {why}" if dry_run and why else ""


def prepare(folder: Path, release: dict[str, Place], private: bool, dry_run: bool = False) -> Plan:
    """Checks everything that can be checked before the first byte is written; reads only.

    Raises:
        [`RecipeError`]: a folder that [`outgoing.collect`] refuses, a card that the Hub refuses, a repository of other
            visibility, a tag that names something else.
    """
    files = collect(folder, release)
    plan = Plan(folder, release, private, files, changed=sorted(files), note=offline_reason(dry_run))
    if plan.note:
        return plan
    place = plan.place
    with hub_failures(place.repo_id):
        _validate_card(folder, files[CARD].source.decode(), place.repo_type)
        try:
            info = retried(HfApi().repo_info, **plan.repo)
        except RepositoryNotFoundError:
            return plan
        check_visibility(info, place.repo_id, private)
        plan.is_new, plan.released = False, retried(tags_of, plan.repo).get(place.tag)
        is_same = retried(plan.compare, plan.released or info.sha)
    if plan.released and not is_same:
        raise RecipeError(f"tag: '{place.tag}' of {place.repo_id} already names other content (commit "
                          f"{plan.released[:12]}); a tag is never moved; choose another --tag for a new version of "
                          "the same, or another --prefix for something else.")
    if is_same:
        plan.learn(plan.released or info.sha)
    return plan


def check_visibility(info, repo_id: str, private: bool) -> None:
    """Raises [`RecipeError`] unless the repository is as visible as the release is to be."""
    if info.private != private:
        is_now, asked = ("private", "public") if info.private else ("public", "private")
        raise RecipeError(f"private: {repo_id} is {is_now}, and this release is to be {asked}; change the "
                          f"repository's visibility in its settings, or give --private {info.private} or another "
                          "--prefix.")


def published(folder: Path, place: Place) -> str | None:
    """The commit of an artifact that is published with this tag exactly as it lies here."""
    with hub_failures(place.repo_id):
        commit, content = retried(content_of_tag, {"repo_id": place.repo_id, "repo_type": place.repo_type}, place.tag)
    return commit if content and content == read_manifest(folder).get("content") else None


def _validate_card(folder, text, repo_type):
    try:
        retried(_ask_about_card, text, repo_type)
    except BadRequestError as error:
        raise RecipeError(f"artifacts: the Hub does not accept the front matter of '{Path(folder, CARD)}' "
                          f"({' '.join(error.response.text.split())}); mend it, or delete the file to have it "
                          "rendered.") from None


def _ask_about_card(text, repo_type):
    """As `RepoCard.validate`, which in huggingface-hub 1 asks huggingface.co whatever HF_ENDPOINT says."""
    hf_raise_for_status(get_session().post(f"{constants.ENDPOINT}/api/validate-yaml", headers={"Accept": "text/plain"},
                                           json={"repoType": repo_type, "content": text}))
