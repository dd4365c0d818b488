"""Artifact folders to the Hub: each as one private commit with a tag, then a collection that holds them.

    python -m recipes.publish --artifacts artifacts/own_data --namespace my-org --tag v1
    python -m recipes.publish --artifacts artifacts/quickstart --namespace me --dry_run      # a laptop, no account

Reads      every finished artifact in the folder, or those named by --names; a token from HF_TOKEN or `hf auth login`
Publishes  <namespace>/<prefix>-<artifact>: pairs, scores, triplets and results as datasets; reranker, adapter and
           model as models. The same command again changes nothing; after a failure it goes on.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from anna_embed.config import PublishConfig, StageConfig
from anna_embed.fetch import go_offline
from anna_embed.parsing import one_sentence, parse


def main(config: PublishConfig) -> None:
    if config.mirror:
        go_offline()

    from anna_embed.hub.account import check_account
    from anna_embed.hub.plan import offline_reason, plan_release
    from anna_embed.hub.publish import release, tie_together

    # ---- before the first byte: who publishes, and every check of every artifact ---------------------------------
    if config.namespace and not offline_reason(config.dry_run):
        check_account(config.namespace)
    plans = plan_release(config.artifacts, config.names, config.namespace or "NAMESPACE", config.prefix, config.tag,
                         config.private, config.dry_run)
    title, size = f"{config.prefix} {config.tag}", sum(plan.upload_size for plan in plans)
    if config.dry_run:
        print(*plans, sep="\n")
        return print(f"collection '{title}' of {len(plans)}" if len(plans) > 1 else "no collection for one artifact")

    # ---- upload, commit, open again, and the tags last -----------------------------------------------------------
    print(f"publish: {size:,} bytes to upload", file=sys.stderr, flush=True)
    release(plans)
    for plan in plans:
        print(f"{plan.place.artifact}: {plan.place.repo_id} commit {plan.place.commit} tag {config.tag}")

    # ---- collection ----------------------------------------------------------------------------------------------
    if len(plans) > 1 or config.push:
        print(f"collection: {tie_together(title, plans)}")


@contextmanager
def pushed(config: StageConfig, name: str) -> Iterator[None]:
    """With `push: true`, publishes the artifact that the `with` block makes or finds up to date.

    Write access is checked before the block runs. Nothing is uploaded if the tag already holds this content, even if
    the card has changed since. Of several processes only the main one publishes.
    """
    if not config.push or os.environ.get("RANK", "0") != "0":
        yield
        return

    from anna_embed.hub.account import check_account
    from anna_embed.hub.names import Place
    from anna_embed.hub.plan import published

    check_account(config.namespace)
    yield
    place = Place(name, f"{config.namespace}/{config.prefix}-{name}", config.tag)
    if published(Path(config.artifacts, name), place):
        return print(f"{name}: {place} is published already")
    main(PublishConfig(artifacts=config.artifacts, push=True, namespace=config.namespace, prefix=config.prefix,
                       names=[name], tag=config.tag, private=config.private))


if __name__ == "__main__":
    with one_sentence():
        config, given = parse(PublishConfig)
        main(config)
