"""Which type a machine is faster at."""

import pytest

from anna_embed import precision


@pytest.mark.parametrize("dtype, device, speedup, is_said", [
    ("bfloat16", "cpu", 0.16, True), ("float32", "cpu", 0.16, False), ("bfloat16", "cpu", 2.2, False),
    ("bfloat16", "cuda:0", 0.16, False)])
def test_who_would_wait_for_hours_is_told(monkeypatch, capsys, dtype, device, speedup, is_said):
    """If this fails, a stage seems to hang on a CPU without bfloat16; or all others get advice that slows them."""
    monkeypatch.setattr(precision, "bfloat16_speedup", lambda: speedup)
    precision.note_if_slow(dtype, device, "--dtype float32")
    printed = capsys.readouterr()
    assert printed.out == ""  # where a command's own results go
    assert printed.err == "note: this CPU multiplies bfloat16 at 0.16 times the speed of float32; give --dtype " \
                          "float32\n" * is_said


def test_the_speed_is_measured_once():
    """If this fails, each search for neighbours begins with a second of measuring."""
    assert precision.bfloat16_speedup(64) == precision.bfloat16_speedup(64) > 0
