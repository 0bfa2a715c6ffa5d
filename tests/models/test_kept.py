import pytest
import torch
from tiny_models import build_model, build_tokenizer

from lofit_cli.models import kept
from lofit_cli.models.kept import load_model_once
from lofit_cli.schema.sources import ModelConfig


@pytest.fixture
def config(tmp_path):
    kept._kept.clear()
    build_model("llama").save_pretrained(tmp_path)
    build_tokenizer().save_pretrained(tmp_path)
    yield ModelConfig(str(tmp_path), dtype="float32")
    kept._kept.clear()


def test_a_model_is_loaded_once(config):
    assert load_model_once(config) is load_model_once(ModelConfig(config.id, dtype="float32"))


@pytest.mark.parametrize("change", ["dtype", "files", "weights", "row"])
def test_another_model_is_loaded(change, config, tmp_path):
    first = load_model_once(config)
    before = first.model.lm_head.weight.clone()
    other = config
    if change == "dtype":
        other = ModelConfig(config.id, dtype="bfloat16")
    elif change == "row":
        other = ModelConfig(config.id, dtype="float32", max_row_tokens=77)
    elif change == "files":
        with torch.no_grad():
            first.model.lm_head.weight.mul_(2)
        first.model.save_pretrained(tmp_path)
        before = first.model.lm_head.weight.clone()
    else:
        with torch.no_grad():
            first.model.lm_head.weight.mul_(2)
    second = load_model_once(other)
    assert second is not first
    assert len(kept._kept) == 1
    assert torch.equal(second.model.lm_head.weight, before.to(second.model.dtype))
