"""Which type a machine is faster at."""

import pytest
import torch

from anna_embed import precision


@pytest.fixture
def machine(monkeypatch):
    """A machine of which the speed at bfloat16 is known."""
    def machine(speedup, has_gpu=False):
        monkeypatch.setattr(precision, "bfloat16_speedup", lambda: speedup)
        monkeypatch.setattr(torch.accelerator, "is_available", lambda: has_gpu)
    return machine


@pytest.mark.parametrize("dtype, speedup, has_gpu, is_said", [
    ("bfloat16", 0.16, False, True), ("float32", 0.16, False, False), ("bfloat16", 2.2, False, False),
    ("bfloat16", 0.16, True, False)])
def test_who_would_wait_for_hours_is_told(machine, capsys, dtype, speedup, has_gpu, is_said):
    """If this fails, a stage seems to hang on a CPU without bfloat16; or all others get advice that slows them."""
    machine(speedup, has_gpu)
    precision.note_if_slow(dtype, "--dtype float32")
    printed = capsys.readouterr().out
    assert printed == "note: this CPU multiplies bfloat16 at 0.16 times the speed of float32; --dtype float32 is " \
                      "faster here\n" * is_said


def test_the_speed_is_measured_once():
    """If this fails, each search for neighbours begins with a second of measuring."""
    assert precision.bfloat16_speedup(64) == precision.bfloat16_speedup(64) > 0
