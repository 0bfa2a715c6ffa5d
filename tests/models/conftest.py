"""A tiny checkpoint, and copies of it with other contents."""

import json
import shutil

import pytest
from safetensors.torch import load_file, save_file
from tiny_checkpoints import build_checkpoint


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    folder = tmp_path_factory.mktemp("llama")
    build_checkpoint("llama", folder)
    return folder


@pytest.fixture
def make(llama, tmp_path):
    """Return a function that copies the checkpoint with other tensors and other settings."""

    def make(change=lambda tensors: tensors, source=llama, **settings):
        folder = shutil.copytree(source, tmp_path / "copy", dirs_exist_ok=True)
        save_file(change(load_file(folder / "model.safetensors")), folder / "model.safetensors", {"format": "pt"})
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | settings))
        return str(folder)

    return make
