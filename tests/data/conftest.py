"""Small recipes of the convert stage, without the network."""

import pytest
from convert_here import Stage


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """Nothing here may reach the network: a wrong name has to fail at once, as on a machine without one."""
    import huggingface_hub.constants

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


@pytest.fixture
def stage(tmp_path, capsys):
    return Stage(tmp_path, capsys)
