"""Artifact folders to the Hub, step by step; a reader sees the old artifact or the new, never a mix."""

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import httpx

from anna_embed.hub.account import hub_failures
from anna_embed.hub.plan import Plan, check_visibility
from anna_embed.hub.reload import open_again
from anna_embed.hub.remote import tags_of
from anna_embed.hub.retries import LOST_RACE, attempts, retried
from anna_embed.parsing import RecipeError


def release(plans: list[Plan]) -> None:
    """Makes the plans of a release true, each step for all artifacts before the next one.

    Nobody sees anything of the first two steps. In the third each repository changes by one commit, parents before the
    children that name them by that commit. The tags, which are what a release is read by, come last of all, when
    everything has been opened again. Every step can be repeated: the same command goes on where a failure stopped it.

    Raises:
        [`RecipeError`]: the Hub refuses, fails longer than the retries last, or holds other bytes than were sent.
    """
    for step in (create, send, commit, open_again, tag):
        for plan in plans:
            if not plan.released:
                step(plan)


def create(plan: Plan) -> None:
    """Makes sure that the repository is there, and as visible as the release is to be."""
    made = "; at most it was created, empty" if plan.is_new else ""
    with hub_failures(plan.place.repo_id, f"no file was uploaded{made}"):
        if plan.is_new:
            retried(HfApi().create_repo, **plan.repo, private=plan.private, exist_ok=True)
        check_visibility(retried(HfApi().repo_info, **plan.repo), plan.place.repo_id, plan.private)


def send(plan: Plan) -> None:
    """Uploads the content of the large files, which becomes visible with the commit only."""
    with hub_failures(plan.place.repo_id, f"it holds {_before(plan)}"):
        for attempt in attempts():
            with attempt:
                return HfApi().preupload_lfs_files(additions=_additions(plan), **plan.repo)


def commit(plan: Plan) -> None:
    """Makes one commit on main, and compares what it holds with what was sent.

    Raises:
        [`RecipeError`]: the Hub refuses, fails longer than the retries last, or holds other bytes than were sent.
    """
    plan.describe()  # the parents' commits are known by now
    with hub_failures(plan.place.repo_id, f"it holds the whole release or {_before(plan)}"):
        made = _commit(plan)
    with hub_failures(plan.place.repo_id, f"commit {made[:12]} is there, tag '{plan.place.tag}' not yet"):
        if not retried(plan.compare, made):
            raise RecipeError(f"{plan.place.repo_id}: at commit {made[:12]} the Hub does not hold what was sent "
                              f"({', '.join(plan.changed + plan.stale)}), so it is not tagged; run the same command "
                              "again.")
    plan.learn(made)


def tag(plan: Plan) -> None:
    """Names the commit; a tag that is there stays where it is.

    Raises:
        [`RecipeError`]: it names another commit.
    """
    place = plan.place
    with hub_failures(place.repo_id, f"commit {place.commit[:12]} is there, tag '{place.tag}' perhaps not yet"):
        for attempt in attempts(also=LOST_RACE):
            with attempt:
                there = tags_of(plan.repo).get(place.tag)
                if there and there != place.commit:
                    raise RecipeError(f"tag: '{place.tag}' of {place.repo_id} already names commit {there[:12]}, and "
                                      f"a tag is never moved; the files are at {place.commit[:12]}: publish with "
                                      "another --tag.")
                return None if there else HfApi().create_tag(**plan.repo, tag=place.tag, revision=place.commit)


def tie_together(title: str, plans: list[Plan]) -> str:
    """A collection that holds the release's repositories; a convenience, so that its failure is only told.

    Returns:
        `str`: the collection's address, or why there is none.
    """
    api, namespace = HfApi(), plans[0].place.repo_id.partition("/")[0]
    try:
        collection = retried(api.create_collection, title, namespace=namespace, private=plans[0].private,
                             exists_ok=True)
        if collection.private != plans[0].private:
            return f"none: '{collection.slug}' is there, and {'private' if collection.private else 'public'}"
        for plan in plans:
            retried(api.add_collection_item, collection.slug, plan.place.repo_id, plan.place.repo_type, exists_ok=True)
    except (HfHubHTTPError, httpx.TransportError) as error:
        return f"none ({type(error).__name__}); the release is complete without it"
    return collection.url


def _commit(plan) -> str:
    api = HfApi()
    for attempt in attempts(also=LOST_RACE):
        with attempt:  # after a lost answer or a lost race, what the Hub holds now decides
            head = api.repo_info(**plan.repo).sha
            if plan.compare(head):
                return head
            operations = [*_additions(plan), *map(CommitOperationDelete, plan.stale)]
            return api.create_commit(**plan.repo, operations=operations, parent_commit=head,
                                     commit_message=f"Release {plan.place.tag}").oid


def _additions(plan) -> list[CommitOperationAdd]:
    """New ones for each attempt: the client notes in them what the repository held when it was asked."""
    additions = [CommitOperationAdd(name, plan.files[name].source) for name in plan.changed]
    for addition in additions:  # spares it a second reading
        addition.upload_info.sha256 = bytes.fromhex(plan.files[addition.path_in_repo].sha256)
    return additions


def _before(plan):
    return "nothing: it was created just now" if plan.is_new else "what it held before"
