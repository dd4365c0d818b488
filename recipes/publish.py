"""Artifact folders to the Hub: each as one private commit with a tag, then a collection that holds them.

    python -m recipes.publish --artifacts artifacts/own_data --namespace my-org --tag v1
    python -m recipes.publish --artifacts artifacts/quickstart --namespace me --dry_run      # a laptop, no account

Reads      every finished artifact in the folder, or those named by --names; a token from HF_TOKEN or `hf auth login`
Publishes  <namespace>/<prefix>-<artifact>: pairs, scores, triplets and results as datasets; reranker, adapter and
           model as models. The same command again changes nothing; after a failure it goes on.
"""

from anna_embed.artifacts import go_offline
from anna_embed.config import PublishConfig
from anna_embed.parsing import one_sentence, parse


def main(config: PublishConfig) -> None:
    if config.mirror:
        go_offline()

    from anna_embed.hub.account import check_account
    from anna_embed.hub.names import repo_type
    from anna_embed.hub.plan import find_artifacts, not_asked, prepare
    from anna_embed.hub.publish import tie_together, upload

    # ---- before the first byte: who publishes, and every check of every artifact ---------------------------------
    folders = find_artifacts(config.artifacts, config.names)
    ids = {folder.name: f"{config.namespace or 'NAMESPACE'}/{config.prefix}-{folder.name}" for folder in folders}
    release = {name: f"{repo_id}@{config.tag}" for name, repo_id in ids.items()}
    if config.namespace and not not_asked(config.dry_run):
        check_account(config.namespace)
    plans = [prepare(folder, ids[folder.name], repo_type(folder.name), config.tag, config.private, release,
                     config.dry_run) for folder in folders]
    if config.dry_run:
        return print(*plans, sep="\n")

    # ---- upload, parents before their children -------------------------------------------------------------------
    for folder, plan in zip(folders, plans, strict=True):
        commit = upload(plan)
        print(f"{folder.name}: {plan.repo_id} commit {commit} tag {plan.tag}", flush=True)

    # ---- collection ----------------------------------------------------------------------------------------------
    if len(plans) > 1:
        print(f"collection: {tie_together(f'{config.prefix} {config.tag}', plans)}")


if __name__ == "__main__":
    with one_sentence():
        config, given = parse(PublishConfig)
        main(config)
