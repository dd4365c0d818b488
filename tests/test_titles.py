"""Pairs of titles for the second step of smollm2_135m: nearest neighbours, none of them of a site that is held out."""

import json
import shutil
import sys

import numpy as np
import pytest
from datasets import Dataset
from recipes.smollm2_135m_step2 import titles
from sentence_transformers import SentenceTransformer
from training.tiny import save_guide

from anna_embed.parsing import RecipeError

SITES = {"unix": "How do I list open files", "gis": "How do I list open layers", "gaming": "How do I list open worlds"}


@pytest.fixture(scope="module")
def mirror(tiny_model, tmp_path_factory):
    """The three sources, small, and both guides, tiny."""
    folder = tmp_path_factory.mktemp("mirror")
    rows = [{"text": f"{text} {n}?", "label_text": site} for site, text in SITES.items() for n in range(4)]
    sentences = [{"sentence1": f"Why is the sky {colour}?", "sentence2": f" why IS the sky {colour}? "}
                 for colour in ("blue", "red")]
    for name, config, table in (("stackexchange/cqadupstack-titles", "data", rows),
                                ("jacoxu/StackOverflow", "data", [{"text": "How do I list open ports"}]),
                                ("sentence-transformers/quora-duplicates", "pair-class", sentences)):
        place = folder / "datasets" / name
        for split in ("train", "test") if config == "pair-class" else ("train",):
            (place / config).mkdir(parents=True, exist_ok=True)
            Dataset.from_list(table).to_parquet(place / config / f"{split}-00000-of-00001.parquet")
        splits = "".join(f"  - split: {split}\n    path: pair-class/{split}-*\n" for split in ("train", "test"))
        configs = f"configs:\n- config_name: pair-class\n  data_files:\n{splits}"
        (place / "README.md").write_text(f"---\n{configs}---\n" if config == "pair-class" else "titles\n")
    for name, pooling in zip(titles.GUIDES.values(), ("mean", "max")):
        save_guide(tiny_model, folder / "models" / name, pooling)
    return folder


def pairs_by(mirror, output, monkeypatch, capsys):
    """What the script writes."""
    monkeypatch.setattr(sys, "argv", ["titles", "--output", str(output), "--mirror", str(mirror)])
    titles.main()
    assert "titles.jsonl holds" in capsys.readouterr().out
    return [json.loads(line) for line in (output / "titles.jsonl").read_text(encoding="utf-8").splitlines()]


def test_every_title_has_its_nearest(mirror, tmp_path, monkeypatch, capsys):
    """If this fails, the model is taught other neighbours than the guides', or titles that the benchmark searches."""
    monkeypatch.setattr(titles, "LEAST", -1.0)
    monkeypatch.setattr(titles, "MOST", 1.1)
    rows = pairs_by(mirror, tmp_path, monkeypatch, capsys)
    texts = [row["query"] for row in rows]
    assert texts == [*(f"{SITES['gis']} {n}?" for n in range(4)), "How do I list open ports",
                     "why IS the sky blue?", "why IS the sky red?"]  # once each, whatever their case and edges
    models = [SentenceTransformer(str(mirror / "models" / name)) for name in titles.GUIDES.values()]
    cosines = np.mean([model.similarity(*[model.encode(texts)] * 2).numpy() for model in models], axis=0)
    np.fill_diagonal(cosines, -2)
    for n, row in enumerate(rows):
        assert cosines[n, texts.index(row["positive"])] >= cosines[n].max() - 0.02  # bfloat16 against float32
        assert row["positive"] != row["query"]
    assert not (tmp_path / ".cache" / "titles").exists() and not list(tmp_path.glob("*.partial"))


def test_what_is_too_far_or_the_same_is_no_pair():
    """If this fails, unrelated questions are taught as duplicates, or a title as its own."""
    angles = np.array([0.0, 0.1, 0.7, 1.4, 3.0])  # cosines of neighbours: 0.995, 0.83, 0.76, -0.03
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    kept, others = titles.neighbours(vectors, np.array([[0, 1], [1, 0], [1, 2], [3, 2], [4, 3]]))
    assert kept.tolist() == [2, 3] and others.tolist() == [1, 2]


def test_a_mirror_without_the_titles_is_named(mirror, tmp_path, monkeypatch, capsys):
    """If this fails, whoever has the Hub alone does not learn why this recipe stops."""
    poor = tmp_path / "poor"
    shutil.copytree(mirror, poor)
    shutil.rmtree(poor / "datasets" / "jacoxu")
    with pytest.raises(RecipeError, match="titles: .*jacoxu/StackOverflow"):
        pairs_by(poor, tmp_path, monkeypatch, capsys)
