"""The guides' wheels become models in a mirror, whole or not at all."""

import zipfile

import pytest

from recipes.smollm2_135m import mirror


@pytest.fixture
def parts(tmp_path):
    """A zip as the wheels hold it, one folder with a stray file of Windows, cut into three."""
    whole = tmp_path / "whole.zip"
    with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr("all-mpnet-base-v2/", "")
        archive.writestr("all-mpnet-base-v2/config.json", "{}")
        archive.writestr("all-mpnet-base-v2/desktop.ini", "[.ShellClassInfo]")
        archive.writestr("all-mpnet-base-v2/1_Pooling/config.json", '{"pooling_mode_mean_tokens": true}')
    content, third = whole.read_bytes(), whole.stat().st_size // 3
    files = [tmp_path / f"model.zip.00{n}" for n in (1, 2, 3)]
    for n, file in enumerate(files):
        file.write_bytes(content[n * third:(n + 1) * third if n < 2 else None])
    return files


def test_the_parts_of_a_zip_become_one_model(parts, tmp_path):
    """Else the recipe's second guide is missing a file, or has one that changes its content hash."""
    mirror.make(tmp_path / "model", lambda folder: mirror.all_mpnet(parts, folder))
    made = {str(file.relative_to(tmp_path / "model")) for file in (tmp_path / "model").rglob("*") if file.is_file()}
    assert made == {"config.json", "1_Pooling/config.json"}
    assert (tmp_path / "model" / "1_Pooling" / "config.json").read_text() == '{"pooling_mode_mean_tokens": true}'


@pytest.mark.parametrize("cut", [0, 1, 2])
def test_a_broken_part_leaves_no_model_behind(parts, tmp_path, cut):
    """Else the next run takes half a model for a whole one, or the user sees a traceback of zipfile."""
    with pytest.raises(mirror.RecipeError, match="the parts of all-mpnet make no whole zip .*--force-reinstall"):
        mirror.make(tmp_path / "model", lambda folder: mirror.all_mpnet(parts[:cut] + parts[cut + 1:], folder))
    assert not (tmp_path / "model").exists()
    mirror.make(tmp_path / "model", lambda folder: mirror.all_mpnet(parts, folder))
    assert (tmp_path / "model" / "config.json").is_file()


def test_a_missing_wheel_is_named_with_the_command(monkeypatch, tmp_path):
    """Else who lacks a wheel sees a traceback of importlib."""
    monkeypatch.setattr(mirror, "PARTS", ["no-such-wheel-part-001"])
    monkeypatch.setattr("sys.argv", ["mirror", "--output", str(tmp_path)])
    with pytest.raises(mirror.RecipeError, match=r"the wheel 'no-such-wheel-part-001' is needed; run `pip install"):
        mirror.main()
    assert not list(tmp_path.iterdir())
