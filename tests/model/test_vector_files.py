"""Files of vectors that are there before, or whose disk is full, and a kill at any moment."""

import json
import shutil
import sys
from collections import namedtuple

import numpy as np
import pytest
from families import save_family
from small import SENTENCES

from anna_embed.__main__ import main
from anna_embed.model import vector_files
from anna_embed.parsing import RecipeError


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_family(tmp_path_factory.mktemp("files"), "llama")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "texts.txt").write_text("\n".join(SENTENCES) + "\n", encoding="utf-8")
    return tmp_path


def encode(model, folder, *more):
    main(["encode", "--model", str(model), "--input", str(folder / "texts.txt"), "--output", str(folder / "out.npy"),
          *more])
    return np.load(folder / "out.npy")


def test_a_file_of_somebody_elses_is_kept(model, folder):
    """If this fails, a slip in a name deletes the user's own array without a word."""
    np.save(folder / "out.npy", np.arange(3))
    with pytest.raises(RecipeError, match="output: '.*out.npy' is there and was not made by this command"):
        encode(model, folder)
    assert np.load(folder / "out.npy").tolist() == [0, 1, 2] and not (folder / "out.npy.partial").exists()
    (folder / "out.npy").unlink()
    (folder / "out.npy").mkdir()
    with pytest.raises(RecipeError, match="was not made by this command"):
        encode(model, folder)


def test_a_search_keeps_the_vectors_of_another_file(model, folder, monkeypatch):
    """If this fails, hours of encoding are lost to a slip in a search; or the same texts, moved, are encoded again."""
    (folder / "moved.txt").write_text((folder / "texts.txt").read_text())
    (folder / "other.txt").write_text("one\ntwo\n")
    search = ["search", "--model", str(model), "--query", "a", "--vectors", str(folder / "out.npy"), "--corpus"]
    main([*search, str(folder / "texts.txt")])
    first = np.load(folder / "out.npy")
    monkeypatch.setattr(vector_files, "_encode_all", lambda *_: pytest.fail("encoded again"))
    main([*search, str(folder / "moved.txt")])
    with pytest.raises(RecipeError, match="vectors: '.*out.npy' holds those of '.*texts.txt'; name another file"):
        main([*search, str(folder / "other.txt")])
    np.testing.assert_array_equal(np.load(folder / "out.npy"), first)


def test_a_search_renews_its_own_vectors_from_anywhere(model, folder, monkeypatch):
    """If this fails, who has changed a corpus must delete its vectors by hand, as they are 'of another file'."""
    monkeypatch.chdir(folder)
    main(["search", "--model", str(model), "--query", "a", "--corpus", "texts.txt"])
    (folder / "texts.txt").write_text("one\ntwo\n")
    (folder / "below").mkdir()
    monkeypatch.chdir(folder / "below")
    main(["search", "--model", str(model), "--query", "a", "--corpus", "../texts.txt"])
    assert len(np.load(folder / "texts.txt.npy")) == 2


def test_a_file_that_was_replaced_is_made_again(model, folder, capsys):
    """If this fails, a search scores vectors that belong to other texts."""
    first = encode(model, folder)
    encode(model, folder)
    assert "is up to date" in capsys.readouterr().out
    np.save(folder / "out.npy", np.zeros_like(first))
    np.testing.assert_array_equal(encode(model, folder), first)


def test_a_kill_while_the_file_is_begun_anew(model, folder, monkeypatch):
    """If this fails, rows of another run that were blanked count as done, and are zeros in a finished file."""
    expected = encode(model, folder)
    (folder / "out.npy").unlink()
    monkeypatch.setattr(vector_files, "CHUNK_TEXTS", 5)
    monkeypatch.setattr(vector_files, "_put", lambda *_: sys.exit("killed"))
    with pytest.raises(SystemExit):
        encode(model, folder)
    monkeypatch.setattr(vector_files, "_write", lambda *_: sys.exit("killed"))
    with pytest.raises(SystemExit):
        encode(model, folder, "--prompt", "x ")
    monkeypatch.undo()
    np.testing.assert_array_equal(encode(model, folder), expected)


def test_a_kill_between_the_last_move_and_the_clearing_up(model, folder, monkeypatch):
    """If this fails, who deletes the file afterwards can never make it again."""
    monkeypatch.setattr(shutil, "rmtree", lambda *_: sys.exit("killed"))
    with pytest.raises(SystemExit):
        encode(model, folder)
    monkeypatch.undo()
    (folder / "out.npy").unlink()
    assert np.isfinite(encode(model, folder)).all() and not (folder / "out.npy.partial").exists()


def test_a_full_disk(model, folder, monkeypatch):
    """A mapped file on a full disk ends the process by a signal, without a word."""
    free = namedtuple("Usage", "free")(1000)
    monkeypatch.setattr(vector_files.shutil, "disk_usage", lambda _: free)
    with pytest.raises(RecipeError, match=r"output: '.*' needs 0.00\d GB more and its disk has 0.000 GB; free some"):
        encode(model, folder)
    assert not (folder / "out.npy").exists()


@pytest.mark.parametrize("option", [["--batch_size", "0"], ["--truncate_dim", "-1"], ["--truncate_dim", "half"]])
def test_numbers_that_are_not_possible(model, folder, option, capsys):
    """If this fails, they end in a traceback of numpy."""
    with pytest.raises(SystemExit):
        encode(model, folder, *option)
    assert f"argument {option[0]}: {option[1]} is not possible; write 1 or more" in capsys.readouterr().err


def test_lines_of_json_that_are_unusual(model, folder):
    """Half an emoji is found before hours of work; an id that is null is none."""
    lines = folder / "texts.jsonl"
    lines.write_text('{"text": "a"}\n{"text": "a \\ud83d"}\n', encoding="utf-8")
    with pytest.raises(RecipeError, match="line 2 of .* has half a character"):
        encode(model, folder, "--input", str(lines))
    lines.write_text('{"id": "\\ud83d", "text": "a"}\n', encoding="utf-8")
    with pytest.raises(RecipeError, match="line 1 of .* has half a character .* in its id"):
        encode(model, folder, "--input", str(lines))
    lines.write_text(json.dumps({"id": None, "text": "a"}) + "\n" + json.dumps({"id": 7, "text": "b"}), "utf-8")
    assert [name for name, _ in vector_files.open_texts("input", str(lines), None, folder)] == ["0", "7"]


def test_a_wrong_prompt_is_said_before_the_corpus_is_encoded(model, folder):
    """If this fails, it is said after hours."""
    with pytest.raises(RecipeError, match="prompt_name: the model has no prompt 'quer'"):
        main(["search", "--model", str(model), "--corpus", str(folder / "texts.txt"), "--query", "a", "--prompt_name",
              "quer"])
    assert not (folder / "texts.txt.npy").exists()


def test_what_is_finished_is_read_only(model, folder, monkeypatch):
    """If this fails, of two searches in one corpus the second is refused, and nobody can search a corpus in a folder
    that only its owner may write into."""
    first = encode(model, folder)

    def refuse(*_):
        raise AssertionError("something was to be written")

    monkeypatch.setattr(vector_files.writer, "claim", refuse)
    monkeypatch.setattr(vector_files.Path, "mkdir", refuse)
    np.testing.assert_array_equal(encode(model, folder), first)
