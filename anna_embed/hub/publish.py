"""An artifact folder to the Hub: one commit and one tag, or nothing; the same command again changes nothing."""

from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import httpx

from anna_embed.hub.account import check_account, hub_failures
from anna_embed.hub.plan import Plan, check_visibility, differences, not_asked, prepare, tags_of
from anna_embed.hub.retries import LOST_RACE, attempts, retried
from anna_embed.parsing import RecipeError


def publish(folder: str | Path, repo_id: str, repo_type: str, tag: str, private: bool = True, dry_run: bool = False):
    """Publishes one artifact.

    Returns:
        `str`: the commit that `tag` names; with `dry_run` the [`Plan`] instead.

    Raises:
        [`RecipeError`]: what [`prepare`] and [`upload`] raise.
    """
    release = {Path(folder).name: f"{repo_id}@{tag}"}
    if not not_asked(dry_run):
        check_account(repo_id.partition("/")[0])
    plan = prepare(folder, repo_id, repo_type, tag, private, release, dry_run)
    return plan if dry_run else upload(plan)


def upload(plan: Plan) -> str:
    """Makes the plan true and returns the commit; readers see the old content or the new, never a mix.

    Raises:
        [`RecipeError`]: the Hub refuses, fails longer than the retries last, or holds other bytes than were sent.
    """
    if plan.released:
        return plan.released
    with hub_failures(plan.repo_id, "no file was uploaded"):
        if plan.is_new:
            retried(HfApi().create_repo, plan.repo_id, repo_type=plan.repo_type, private=plan.private, exist_ok=True)
        info = retried(HfApi().repo_info, plan.repo_id, repo_type=plan.repo_type)
        check_visibility(info, plan.repo_id, plan.private)
    before = "nothing: it was created just now" if plan.is_new else "what it held before"
    with hub_failures(plan.repo_id, f"it holds the whole release or {before}"):
        commit = _commit(plan)
    with hub_failures(plan.repo_id, f"commit {commit[:12]} is there, tag '{plan.tag}' perhaps not yet"):
        changed, stale = differences(plan, commit)
        if changed or stale:
            raise RecipeError(f"{plan.repo_id}: at commit {commit[:12]} the Hub does not hold what was sent "
                              f"({', '.join(changed + stale)}), so it is not tagged; run the same command again.")
        _tag(plan, commit)
    return commit


def tie_together(title: str, plans: list[Plan]) -> str | None:
    """A collection that holds the release's repositories; a convenience, so its failure is only told.

    Returns:
        `str`: the collection's address, or None if the Hub refused.
    """
    api, namespace = HfApi(), plans[0].repo_id.partition("/")[0]
    try:
        collection = retried(api.create_collection, title, namespace=namespace, private=plans[0].private,
                             exists_ok=True)
        for plan in plans:
            retried(api.add_collection_item, collection.slug, plan.repo_id, plan.repo_type, exists_ok=True)
    except (HfHubHTTPError, httpx.TransportError) as error:
        print(f"no collection was made ({type(error).__name__}); the release is complete without it")
        return None
    return collection.url


def _commit(plan) -> str:
    api = HfApi()
    for attempt in attempts(also=LOST_RACE):
        with attempt:  # after a lost answer or a lost race, what the Hub holds now decides
            head = api.repo_info(plan.repo_id, repo_type=plan.repo_type).sha
            changed, stale = differences(plan, head)
            if not changed and not stale:
                return head
            operations = [CommitOperationAdd(name, plan.files[name].source) for name in changed]
            operations += [CommitOperationDelete(name) for name in stale]
            return api.create_commit(plan.repo_id, operations, commit_message=f"Release {plan.tag}",
                                     repo_type=plan.repo_type, parent_commit=head).oid


def _tag(plan, commit):
    for attempt in attempts(also=LOST_RACE):
        with attempt:
            there = tags_of(plan).get(plan.tag)
            if there == commit:
                return
            if there:
                raise RecipeError(f"tag: '{plan.tag}' of {plan.repo_id} already names commit {there[:12]}, and a tag "
                                  f"is never moved; the files are at {commit[:12]}: publish with another --tag.")
            return HfApi().create_tag(plan.repo_id, tag=plan.tag, revision=commit, repo_type=plan.repo_type)
