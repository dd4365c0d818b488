"""What the cards tell people to copy, executed as it stands."""

import json

import pytest
from small_release import publish

from anna_embed.artifacts import ARTIFACTS, CARD
from anna_embed.hub.names import repo_type

ANSWERS = (*ARTIFACTS, "passages")  # the variables that the snippets fill
RUN_SNIPPETS = r"""
import json, re, sys

said = {}
for name, text in json.load(open(sys.argv[1])).items():
    snippets = re.findall(r"^```python\n(.*?)^```$", text, re.S | re.M)
    for snippet in snippets:
        names = {}
        exec(compile(snippet, name, "exec"), names)
        said.setdefault(name, []).extend(type(names[key]).__name__ for key in names if key in sys.argv[2:])
print(json.dumps(said))
"""


@pytest.mark.slow
@pytest.mark.parametrize("place", ["Hub", "folder"])
def test_the_snippets_of_all_cards(hub, artifacts, whole_release, run, tmp_path, place):
    """If this fails, the first thing that a reader of a card copies ends in an error."""
    if place == "Hub":
        publish(artifacts)
    cards = {name: hub.read((f"{repo_type(name)}s", f"tester/anna-{name}"), "v1", CARD) if place == "Hub" else
             (artifacts / name / CARD).read_text() for name in ARTIFACTS}
    (tmp_path / "cards.json").write_text(json.dumps(cards))
    script = tmp_path / "run_snippets.py"
    script.write_text(RUN_SNIPPETS)
    (tmp_path / "empty").mkdir()
    cwd = artifacts if place == "folder" else tmp_path / "empty"
    done = run(script, tmp_path / "cards.json", *ANSWERS, home="fresh", cwd=cwd)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "pairs": ["DatasetDict"], "reranker": ["CrossEncoder", "ndarray"], "scores": ["DatasetDict"],
        "triplets": ["DatasetDict"], "adapter": ["PeftModelForFeatureExtraction"],
        "model": ["SentenceTransformer", "ndarray"], "results": ["DatasetDict"]}
