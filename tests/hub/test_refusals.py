"""What is refused before the first byte is written, and the sentence that says why and what to do."""

import json

import pandas
import pytest
from small_release import describe

PAIRS = ("datasets", "tester/anna-pairs")
SOME_TOKEN = "hf_" + "Ab3" * 11


@pytest.mark.parametrize("token, sentence", [
    ("", "HF_TOKEN: there is no token; log in with `hf auth login`, or set HF_TOKEN to a token with write access."),
    ("hf_n\u00f6", "HF_TOKEN: the token holds characters that no token of the Hub has; copy it again, and set "
     "HF_TOKEN to it or, where that is not set, log in with it (`hf auth login`)."),
    ("hf_wrong", "HF_TOKEN: {endpoint} does not know this token; nothing was written; make a new one in your "
     "account's settings, and set HF_TOKEN to it or, where that is not set, log in with it (`hf auth login`)."),
    ("hf_test_read", "HF_TOKEN: the token of 'tester' may only read; make one with write access in your account's "
     "settings, and set HF_TOKEN to it or, where that is not set, log in with it (`hf auth login`)."),
    ("hf_test_other", "namespace: 'other' may not write to 'tester'; name one of other."),
    ("hf_test_fine", "HF_TOKEN: this fine-grained token of 'tester' has no write access to the repositories of "
     "'tester'; give it that in your account's settings, or use another."),
], ids=["none", "not ASCII", "wrong", "read-only", "of another", "fine-grained"])
def test_tokens(hub, refusal, monkeypatch, token, sentence):
    """If this fails, the user learns after an hour of uploading that the token was never good enough, or not why."""
    monkeypatch.setenv("HF_TOKEN", token)
    assert refusal() == sentence.format(endpoint=hub.endpoint)
    assert hub.writes() == []


def test_a_fine_grained_token_that_may_write(hub, pairs, monkeypatch):
    """If this fails, the tokens that the Hub recommends are refused."""
    scope = {"entity": {"type": "user", "name": "tester"}, "permissions": ["repo.content.read", "repo.write"]}
    hub.users["hf_test_fine"]["fineGrained"] = {"scoped": [scope]}
    monkeypatch.setenv("HF_TOKEN", "hf_test_fine")
    assert pairs() == hub.repos[PAIRS].head


def test_the_token_of_the_login_file(hub, pairs, monkeypatch, tmp_path):
    """If this fails, `hf auth login` is not enough to publish."""
    monkeypatch.delenv("HF_TOKEN")
    (tmp_path / "no-login").write_text("hf_test_write")
    assert pairs() == hub.repos[PAIRS].head


STAGE_READS = "take it out of what the stage reads, delete the folder, run the stage again"
PLANTED = {"NQ/notes.jsonl": STAGE_READS, "settings.yaml": STAGE_READS, "adapter_config.json": STAGE_READS,
           "README.md": "take it out of the file", "training_log.json": "take it out of the file",
           "manifest.json": "take it out of the file"}


@pytest.mark.parametrize("name", PLANTED)
@pytest.mark.parametrize("token", [SOME_TOKEN, "hf_test_write"], ids=["some token", "the live token"])
def test_a_planted_token(hub, refusal, artifacts, name, token):
    """If this fails, a token in a log or a config becomes readable by everyone who reads the release."""
    path = artifacts / "pairs" / name
    text = path.read_text() if path.exists() else ""
    in_json = text.replace('"seconds"', f'"hub_token": "{token}", "seconds"')
    path.write_text(in_json if name == "manifest.json" else text + token)
    for by_the_stage in (False, True):
        if by_the_stage:
            describe(artifacts / "pairs")
        assert refusal() == (f"artifacts: '{path}' holds an access token of the Hub; revoke that token in your "
                             f"account's settings, {PLANTED[name]}, and publish again.")
    assert hub.writes() == [] and hub.leaks == []


def test_a_token_is_taken_out_again(hub, pairs, refusal, artifacts):
    """If this fails, what the sentence tells the user to do does not help."""
    for name in ("README.md", "training_log.json"):
        path = artifacts / "pairs" / name
        text = path.read_text() if path.exists() else "{}"
        path.write_text(text + SOME_TOKEN)
        assert "take it out of the file, and publish again" in refusal()
        path.write_text(text)
    assert pairs() == hub.repos[PAIRS].head and hub.leaks == []


def test_rows_that_cannot_be_searched(hub, refusal, artifacts):
    """If this fails, a damaged file ends in a traceback, or goes out without a search for tokens."""
    path = artifacts / "pairs/NQ/test-00000-of-00001.parquet"
    pandas.DataFrame({"query": [f"question {n}" for n in range(999)]}).to_parquet(path)
    data = bytearray(path.read_bytes())
    data[20:2000] = bytes(1980)
    path.write_bytes(data)
    describe(artifacts / "pairs")
    assert refusal().startswith(f"artifacts: the rows of '{path}' cannot be read (")
    assert hub.writes() == []


@pytest.mark.parametrize("compression", ["snappy", "zstd"])
@pytest.mark.parametrize("row", [{"query": f"my {SOME_TOKEN}"}, {"negatives": ["x", f"a{SOME_TOKEN}"]}],
                         ids=["text", "list of texts"])
def test_a_token_in_a_row(hub, refusal, artifacts, row, compression):
    """If this fails, a token in the text of a row leaves, hidden from a search of the bytes by the compression."""
    path = artifacts / "pairs/NQ/test-00000-of-00001.parquet"
    rows = [{key: [value] if key == "negatives" else value for key, value in
             {"query": f"no {n}", "negatives": "-"}.items()} for n in range(500)] + [{"query": "-"} | row]
    pandas.DataFrame(rows).to_parquet(path, compression=compression)
    describe(artifacts / "pairs")
    assert refusal().startswith(f"artifacts: '{path}' holds an access token of the Hub; revoke that token")
    assert hub.writes() == []


def test_a_public_repository(hub, refusal):
    """If this fails, rows that were to stay private appear in a repository that anyone can read."""
    hub.create("datasets", "tester/anna-pairs", False, "tester")
    assert refusal() == (
        "private: tester/anna-pairs is public, and this release is to be private; change the repository's visibility "
        "in its settings, or give --private False or another --prefix.")
    assert hub.writes() == []


def test_a_repository_that_is_public_from_the_start(hub, refusal, monkeypatch):
    """If this fails, an organisation whose new repositories are public shows everyone what was to be private."""
    create = hub.create
    monkeypatch.setattr(hub, "create", lambda kind, name, private, author: create(kind, name, False, author))
    assert "tester/anna-pairs is public, and this release is to be private" in refusal()
    assert hub.repos[PAIRS].history() == ["initial commit"] and hub.xet.files == {}


def test_public_on_demand(hub, pairs, refusal):
    """If this fails, a release cannot be public at all, or a public one overwrites a private repository."""
    pairs(private=False)
    assert not hub.repos[PAIRS].private
    assert "is public, and this release is to be private" in refusal(tag="v2")


def test_a_card_that_the_hub_refuses(hub, refusal, artifacts):
    """If this fails, the Hub rejects the commit after everything was uploaded."""
    card = artifacts / "pairs/README.md"
    card.write_text(card.read_text().replace("license: cc-by-sa-3.0", "license: my-own"))
    assert "the Hub does not accept the front matter" in refusal()
    card.write_text("no front matter")
    assert refusal() == (f"artifacts: the front matter of '{card}' names no license; add the key 'license', "
                         "or delete the file to have it rendered.")
    card.write_bytes("---\nlicense: mit\n---\ncaf\u00e9\n".encode("latin-1"))
    assert refusal() == f"artifacts: '{card}' is not UTF-8; save it as UTF-8, or delete it to have it rendered."
    assert hub.writes() == []


def test_files_that_the_manifest_does_not_describe(hub, refusal, artifacts):
    """If this fails, the card of a release states numbers of other data than the release holds."""
    (artifacts / "pairs/NQ/train-00000-of-00001.parquet").write_bytes(b"edited")
    assert "are not those that its manifest.json describes" in refusal()
    manifest = artifacts / "pairs/manifest.json"
    manifest.write_text(json.dumps({k: v for k, v in json.loads(manifest.read_text()).items() if k != "content"}))
    assert "are not those that its manifest.json describes" in refusal()
    assert hub.writes() == []


def test_what_does_not_open_is_not_tagged(hub, refusal, artifacts):
    """If this fails, a release gets its tag although nobody can load it."""
    (artifacts / "pairs/NQ/train-00000-of-00001.parquet").write_bytes(b"PAR1 no rows")
    describe(artifacts / "pairs")
    assert "tester/anna-pairs: what was published does not open at commit" in refusal()
    assert hub.repos[PAIRS].tags == {}
