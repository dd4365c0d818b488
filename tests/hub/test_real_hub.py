"""The real Hub, on demand: `HF_TOKEN=... make test-hub` creates, checks and deletes its own private repositories."""

import secrets

import pytest
from huggingface_hub import HfApi, get_token
from recipes import publish as recipe

from anna_embed.config import PublishConfig


@pytest.mark.network
def test_a_release_on_the_real_hub(artifacts):
    """If this fails, the loopback Hub of the other tests is not like the real one in something that matters."""
    if not get_token():
        pytest.skip("needs a token with write access: set HF_TOKEN, or log in with `hf auth login`")
    api, prefix = HfApi(), f"anna-test-{secrets.token_hex(4)}"
    namespace = api.whoami()["name"]
    config = PublishConfig(artifacts=str(artifacts), namespace=namespace, prefix=prefix, names=["pairs", "triplets"])
    ids = [f"{namespace}/{prefix}-{name}" for name in config.names]
    try:
        recipe.main(config)
        before = [api.dataset_info(repo_id).sha for repo_id in ids]
        recipe.main(config)
        for repo_id, commit in zip(ids, before):
            assert api.dataset_info(repo_id).private
            assert api.dataset_info(repo_id, revision="v1").sha == api.dataset_info(repo_id).sha == commit
            assert api.verify_repo_checksums(repo_id, repo_type="dataset", revision=commit).mismatches == []
    finally:
        for repo_id in ids:
            api.delete_repo(repo_id, repo_type="dataset", missing_ok=True)
        for collection in api.list_collections(owner=namespace):
            if collection.title.startswith(prefix):
                api.delete_collection(collection.slug)
