"""The loopback Hub itself, where a fault of its own would look like one of the publisher."""

import pytest
from huggingface_hub import HfApi, constants
from server import HubServer


@pytest.mark.parametrize("way", ["LFS", "Xet"])
def test_a_port_that_comes_again(client, talk_to, monkeypatch, tmp_path, way):
    """If this fails, a test of publishing fails now and then: the client talks to the Hub that had the port before,
    or Xet leaves out what it sent to that one."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", way == "LFS")
    (tmp_path / "model.safetensors").write_bytes(bytes(range(256)) * 400)
    ports = (0, 0)
    for _ in range(3):
        with HubServer(ports=ports) as hub:
            ports = [server.server_address[1] for server in hub.servers]
            talk_to(hub)
            HfApi().create_repo("tester/model")
            HfApi().upload_file(path_or_fileobj=tmp_path / "model.safetensors", path_in_repo="model.safetensors",
                                repo_id="tester/model")
            file = hub.repos["models", "tester/model"].resolve("main")["files"]["model.safetensors"]
            assert hub.objects[file["lfs"]] == (tmp_path / "model.safetensors").read_bytes()
