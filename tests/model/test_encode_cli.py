"""`encode` and `search` on the command line: any number of texts, a kill costs one chunk, what is wrong is said."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from families import save_family
from safetensors.torch import load_file, save_file
from small import SENTENCES
from trained import rewrite

import anna_embed
from anna_embed.__main__ import main
from anna_embed.model import search, vector_files
from anna_embed.parsing import RecipeError

ROOT = Path(__file__).parents[2]
QUERY = "Instruct: Find it\nQuery: "


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = save_family(tmp_path_factory.mktemp("cli"), "llama")
    rewrite(folder / "config_sentence_transformers.json", prompts={"query": QUERY, "document": "", "sums": "Add: "})
    return folder


@pytest.fixture(scope="module")
def vectors(model):
    """What the loaded model gives."""
    loaded = anna_embed.load(str(model))
    return lambda texts, **asked: loaded.encode(texts, **asked)


@pytest.fixture
def corpus(tmp_path):
    """Rows as BEIR has them, and the same texts a line."""
    rows = [{"_id": f"d{n}", "title": "t", "text": text} for n, text in enumerate(SENTENCES)]
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (tmp_path / "texts.txt").write_text("\n".join(SENTENCES) + "\n", encoding="utf-8")
    return tmp_path


def encode(model, corpus, name="texts.jsonl", output="out.npy", *more):
    main(["encode", "--model", str(model), "--input", str(corpus / name), "--output", str(corpus / output), *more])
    return corpus / output


def left(folder):
    return sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("texts."))


# ---- what it makes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["texts.jsonl", "texts.txt"])
def test_npy(model, vectors, corpus, capsys, name):
    """If this fails, a vector is in another row than its text, or was made with another prompt."""
    made = encode(model, corpus, name, "out.npy", "--prompt_name", "query")
    np.testing.assert_allclose(np.load(made), vectors(SENTENCES, prompt_name="query"), atol=1e-6)
    assert np.load(made).dtype == np.float32
    assert f"encode: made {made}: 24 vectors of 32 numbers in" in capsys.readouterr().out
    assert left(corpus) == ["out.npy", "out.npy.json"]
    assert json.loads((corpus / "out.npy.json").read_text())["prompt_name"] == "query"


def test_parquet(model, vectors, corpus):
    """If this fails, ids, texts and vectors of a table do not belong together."""
    table = pq.read_table(encode(model, corpus, "texts.jsonl", "out.parquet", "--prompt", "Read: "))
    assert table["id"].to_pylist() == [f"d{n}" for n in range(24)] and table["text"].to_pylist() == SENTENCES
    np.testing.assert_allclose(np.stack(table["embedding"].to_pylist()), vectors(SENTENCES, prompt="Read: "),
                               atol=1e-6)
    table = pq.read_table(encode(model, corpus, "texts.txt", "out.parquet", "--truncate_dim", "8"))
    assert table["id"].to_pylist() == [str(n) for n in range(24)]
    np.testing.assert_allclose(np.stack(table["embedding"].to_pylist()), vectors(SENTENCES, truncate_dim=8),
                               atol=1e-6)


def test_standard_input(model, vectors, corpus, monkeypatch):
    """If this fails, texts cannot be piped, or blank lines shift all vectors behind them."""
    for content, column in (("one\n\n \nfour\r\nfive", []), ('{"t": "one"}\n\n{"t": ""}', ["--column", "t"])):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content.encode())))
        main(["encode", "--model", str(model), "--input", "-", "--output", str(corpus / "out.npy"), *column])
        texts = ["one", ""] if column else ["one", "", " ", "four", "five"]
        np.testing.assert_allclose(np.load(corpus / "out.npy"), vectors(texts), atol=1e-6)


def test_the_same_again_does_nothing(model, corpus, capsys):
    """If this fails, hours are spent again; or other texts, prompts or weights leave the old vectors in place."""
    encode(model, corpus)
    capsys.readouterr()
    encode(model, corpus)
    assert "out.npy is up to date" in capsys.readouterr().out
    for change in (["--prompt_name", "query"], ["--prompt_name", "sums"], ["--dtype", "bfloat16"]):
        encode(model, corpus, "texts.jsonl", "out.npy", *change)
        assert "made" in capsys.readouterr().out
    with (corpus / "texts.jsonl").open("a") as file:
        file.write('{"text": "one more"}\n')
    assert len(np.load(encode(model, corpus))) == 25


# ---- beyond memory, and after a kill ----------------------------------------------------------------------------


def test_goes_on_after_an_interruption(model, vectors, corpus, monkeypatch, capsys):
    """If this fails, a kill costs all work, or leaves rows that were never written."""
    monkeypatch.setattr(vector_files, "CHUNK_TEXTS", 5)
    seen, of_stock = [], anna_embed.model.load.Embedder.encode

    def stopping(self, texts, **options):
        if len(seen) == 3:
            raise KeyboardInterrupt
        seen.append(texts)
        return of_stock(self, texts, **options)

    monkeypatch.setattr(anna_embed.model.load.Embedder, "encode", stopping)
    with pytest.raises(KeyboardInterrupt):
        encode(model, corpus)
    assert left(corpus) == ["out.npy.partial"]
    seen.clear()
    made = encode(model, corpus)
    assert [len(texts) for texts in seen] == [5, 4]
    assert "15 of 24 texts were encoded before; going on" in capsys.readouterr().out
    np.testing.assert_allclose(np.load(made), vectors(SENTENCES), atol=1e-6)
    assert left(corpus) == ["out.npy", "out.npy.json"]


def test_what_another_command_began_is_not_used(model, vectors, corpus, monkeypatch):
    """If this fails, one file holds vectors of two prompts."""
    monkeypatch.setattr(vector_files, "CHUNK_TEXTS", 5)
    monkeypatch.setattr(vector_files, "_put", lambda *_: sys.exit("killed"))
    with pytest.raises(SystemExit):
        encode(model, corpus, "texts.jsonl", "out.npy", "--prompt_name", "query")
    monkeypatch.undo()
    np.testing.assert_allclose(np.load(encode(model, corpus)), vectors(SENTENCES), atol=1e-6)


def test_killed_while_it_is_put_in_place(model, vectors, corpus, monkeypatch):
    """If this fails, a kill in the last moment loses the vectors, or leaves a note that lies about the old ones."""
    encode(model, corpus, "texts.jsonl", "out.npy", "--prompt_name", "query")
    monkeypatch.setattr(Path, "rename", lambda *_: sys.exit("killed"))
    monkeypatch.setattr(vector_files, "_write", lambda file, content: file.write_text(content))
    with pytest.raises(SystemExit):
        encode(model, corpus)
    monkeypatch.undo()
    assert "out.npy" not in left(corpus)
    expected = vectors(SENTENCES)
    monkeypatch.setattr(anna_embed.model.load.Embedder, "encode", lambda *_, **__: pytest.fail("encoded again"))
    np.testing.assert_allclose(np.load(encode(model, corpus)), expected, atol=1e-6)


@pytest.mark.slow
def test_killed_with_9(model, vectors, tmp_path):
    """If this fails, the machine's going down costs all work."""
    texts = [f"{n} {SENTENCES[n % 24]}" for n in range(20_000)]
    (tmp_path / "texts.txt").write_text("\n".join(texts), encoding="utf-8")
    command = [sys.executable, "-m", "anna_embed", "encode", "--model", str(model), "--input",
               str(tmp_path / "texts.txt"), "--output", str(tmp_path / "out.npy"), "--batch_size", "8"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    done = tmp_path / "out.npy.partial" / "done"
    while not done.is_file() or int(done.read_text() or 0) == 0:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = int(done.read_text())
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert f"{before:,} of 20,000 texts were encoded before; going on" in again.stdout, again.stderr
    assert 0 < before < 20_000 and "text/s" in again.stderr
    found = np.load(tmp_path / "out.npy")
    some = list(range(0, 20_000, 97))
    np.testing.assert_allclose(found[some], vectors([texts[n] for n in some]), atol=1e-5)


# ---- search -----------------------------------------------------------------------------------------------------


def test_search(model, vectors, corpus, monkeypatch, capsys):
    """If this fails, the wrong texts are shown, or in the wrong order."""
    monkeypatch.setattr(search, "PART", 7)
    asked = ["where is tea grown", "old maps"]
    command = ["search", "--model", str(model), "--corpus", str(corpus / "texts.jsonl"), "--query", *asked]
    main([*command, "--top_k", "3"])
    shown = capsys.readouterr().out
    scores = vectors(asked, prompt_name="query") @ vectors(SENTENCES).T
    for query, line in zip(asked, scores):
        best = np.argsort(-line)[:3]
        block = shown.split(f"{query}\n")[1].splitlines()[:3]
        for place, (n, row) in enumerate(zip(best, block), start=1):
            assert row.split(maxsplit=3) == [f"{place}.", f"{line[n]:.4f}", f"d{n}", SENTENCES[n]]
    monkeypatch.setattr(vector_files, "_encode_all", lambda *_: pytest.fail("encoded again"))
    main([*command, "--top_k", "100"])
    assert capsys.readouterr().out.count(". ") >= 48


# ---- what is wrong is one sentence ------------------------------------------------------------------------------


def test_hits_without_spaces():
    """Of Chinese or Thai passages nothing but dots was shown."""
    hits = [search.Hit(0.5, "1", "字" * 400), search.Hit(0.25, "2", "short\n one"), search.Hit(0.1, "3", "word " * 100)]
    lines = search.show("q", hits).splitlines()
    assert "字" * 100 in lines[1] and lines[1].endswith("字 ...") and lines[2].endswith("short one")
    assert lines[3].endswith(" ...") and all(len(line) < 200 for line in lines)


@pytest.mark.parametrize("content, sentence", [
    ("", "holds no texts"), ("\n\n", "holds no texts"), ('{"text": "a"}\n{"text": 5}\n', "line 2 .* has a int in the"),
    ('{"text": null}', "line 1 .* has a NoneType"), ('{"body": "a"}', r"no column 'text' \(it has body\)"),
    ('{"text": "a"', "line 1 .* is no JSON"), ('["a"]', "line 1 .* holds a list"), (b"\xff\xfe\x00", "is not UTF-8"),
])
def test_wrong_texts(model, corpus, content, sentence):
    """If this fails, a wrong line in the middle of a file ends in a traceback after hours of encoding."""
    (corpus / "texts.jsonl").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(RecipeError, match=f"input: .*{sentence}"):
        encode(model, corpus)
    assert left(corpus) == []


@pytest.mark.parametrize("arguments, sentence", [
    (["--prompt_name", "quer"], "prompt_name: the model has no prompt 'quer'; it has query, document, sums"),
    (["--prompt", " ".join(SENTENCES * 3)], "prompt: it has .* tokens, and the model reads 1024"),
    (["--model", "nowhere"], "model: there is nothing at 'nowhere'"), (["--device", "cuda:9"], "device: this"),
    (["--input", "none.txt"], "input: there is no file 'none.txt'"), (["--output", "a.csv"], "output: 'a.csv' is"),
    (["--truncate_dim", "33"], "truncate_dim: 33 is not possible; the model's vectors have 32 numbers: write 32"),
    (["--column", "body"], "line 1 .* has no column 'body' .it has _id, title, text."),
])
def test_wrong_arguments(model, corpus, arguments, sentence):
    """If this fails, a slip on the command line ends in a traceback, or leaves something half-written."""
    with pytest.raises(RecipeError, match=sentence):
        encode(model, corpus, "texts.jsonl", "out.npy", *arguments)
    assert left(corpus) == []


@pytest.mark.parametrize("piped, sentence", [(b"", "holds no texts"), (b"\xff\xfe", "is not UTF-8")])
def test_wrong_standard_input(model, corpus, monkeypatch, piped, sentence):
    """If this fails, the user is told of a file that he never named and that is not there any more."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(piped)))
    with pytest.raises(RecipeError, match=f"input: the standard input {sentence}"):
        main(["encode", "--model", str(model), "--input", "-", "--output", str(corpus / "out.npy")])
    assert left(corpus) == []


def test_wrong_models(model, corpus, tmp_path):
    """If this fails, a model that pools otherwise, or has diverged, fills a file with vectors that mean nothing."""
    other = save_family(tmp_path / "other", "llama")
    weights = load_file(other / "model.safetensors")
    (other / "model.safetensors").unlink()
    save_file({name: w * float("nan") for name, w in weights.items()}, other / "model.safetensors")
    with pytest.raises(RecipeError, match="gives vectors that are not finite"):
        encode(other, corpus)
    rewrite(other / "1_Pooling" / "config.json", pooling_mode_lasttoken=False, pooling_mode_mean_tokens=True)
    with pytest.raises(RecipeError, match="does not embed with its last token's state"):
        encode(other, corpus)
    assert left(corpus) == ["other"]


def test_wrong_searches(model, corpus):
    """If this fails, a search ends in a traceback."""
    command = ["search", "--model", str(model), "--query", "a", "--corpus"]
    for arguments, sentence in (
        (["-"], "corpus: '-' with vectors in '' is not possible"),
        ([str(corpus / "none.jsonl")], "corpus: there is no file"),
        ([str(corpus / "texts.jsonl"), "--top_k", "0"], "top_k: 0 is not possible"),
        ([str(corpus / "texts.jsonl"), "--vectors", "a.parquet"], "and an .npy file for its vectors"),
        ([str(corpus / "texts.jsonl"), "--prompt_name", "quer"], "prompt_name: the model has no prompt 'quer'"),
    ):
        with pytest.raises(RecipeError, match=sentence):
            main([*command, *arguments])


def test_one_sentence_and_exit_code(model, corpus):
    """If this fails, scripts go on after an error, and people read a traceback."""
    done = subprocess.run([sys.executable, "-m", "anna_embed", "encode", "--model", "nowhere", "--input",
                           str(corpus / "texts.txt"), "--output", str(corpus / "out.npy")], cwd=ROOT, text=True,
                          capture_output=True, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and done.stderr.startswith("error: model: there is")
