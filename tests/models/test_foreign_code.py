"""Code that comes with a checkpoint is never run."""

import json
from pathlib import Path

import pytest
import torch
from loading import refused

from lofit_cli.errors import UserError
from lofit_cli.evaluation.judge import judge_answers
from lofit_cli.models.load import load_model
from lofit_cli.schema.sources import ModelConfig


class RunsWhenRead:
    def __reduce__(self):
        return (Path.touch, (Path("CODE_RAN"),))


def test_a_bin_file_is_refused_unread(make, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    folder = Path(make())
    (folder / "model.safetensors").unlink()
    torch.save({"lm_head.weight": RunsWhenRead()}, folder / "pytorch_model.bin")
    refused(str(folder), "its weights are in a .bin file, which can hold code", exit_code=1)
    assert not Path("CODE_RAN").exists()


CODE = """
from pathlib import Path
Path("CODE_RAN").touch()
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
class HomeConfig(LlamaConfig):
    model_type = "homemade"
class HomeForCausalLM(LlamaForCausalLM):
    config_class = HomeConfig
class HomeTokenizer(PreTrainedTokenizerFast):
    pass
"""
OWN_MODEL = {"AutoConfig": "home.HomeConfig", "AutoModelForCausalLM": "home.HomeForCausalLM"}
OWN_TOKENIZER = {"AutoTokenizer": ["home.HomeTokenizer", "home.HomeTokenizer"]}


@pytest.fixture
def eager_to_agree(monkeypatch, tmp_path):
    """Stand in a folder of its own, with a person who says yes to every question."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("builtins.input", lambda *args: "y")
    yield
    assert not Path("CODE_RAN").exists()


def with_code(folder, file, **settings):
    Path(folder, "home.py").write_text(CODE)
    config = json.loads(Path(folder, file).read_text())
    Path(folder, file).write_text(json.dumps(config | settings))
    return folder


@pytest.mark.usefixtures("eager_to_agree")
def test_a_models_own_code_is_never_run_and_nobody_is_asked(make):
    folder = with_code(make(), "config.json", model_type="homemade", auto_map=OWN_MODEL)
    refused(folder, "it needs code of its own, which is never run", exit_code=1)


@pytest.mark.usefixtures("eager_to_agree")
def test_a_judges_own_code_is_never_run(make):
    folder = with_code(make(), "config.json", model_type="homemade", auto_map=OWN_MODEL)
    with pytest.raises(UserError, match="code of its own"):
        judge_answers({"true": folder}, ModelConfig("smollm2"), [])


@pytest.mark.usefixtures("eager_to_agree")
def test_code_beside_a_model_that_transformers_knows_is_left_alone(make):
    folder = with_code(make(), "config.json", auto_map=OWN_MODEL)
    Path(folder, "custom_generate").mkdir()
    Path(folder, "custom_generate", "generate.py").write_text(CODE)
    assert load_model(ModelConfig(folder)).geometry.num_layers == 4


@pytest.mark.usefixtures("eager_to_agree")
def test_a_tokenizers_own_code_is_never_run(make):
    folder = make()
    with_code(folder, "tokenizer_config.json", tokenizer_class="HomeTokenizer", auto_map=OWN_TOKENIZER)
    refused(folder, "it needs code of its own, which is never run", exit_code=1)


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation"])
def test_attention_from_the_hub_is_refused(make, key):
    refused(make(**{key: "somebody/kernels"}), "asks for code of its own (somebody/kernels)")
