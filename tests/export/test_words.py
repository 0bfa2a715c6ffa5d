"""What an export says of itself: engines, licences, older names."""

import json

import pytest

from lofit_cli.exports.card import base_licence, name_of
from lofit_cli.exports.checkpoint import with_older_names
from lofit_cli.exports.engines import describe_engines

ENGINES = {
    ("llama", ("o_proj",)): ["vLLM 0.33 reads", "SGLang 0.5.23 reads", "llama.cpp reads"],
    ("qwen3", ("o_proj",)): ["refuses the checkpoint", "SGLang 0.5.23 reads", "does not load the file"],
    ("ernie4_5", ("o_proj",)): ["refuses the checkpoint", "was not looked at", "ignores them silently"],
    ("smollm3", ("o_proj",)): ["through transformers", "was not looked at", "does not load the file"],
    ("cohere", ("o_proj",)): ["refuses the checkpoint", "skips the biases silently", "does not load the file"],
    ("llama", ("down_proj",)): ["vLLM 0.33 and llama.cpp read", "SGLang 0.5.23 has none there and loses them"],
    ("qwen2_moe", ("v_proj",)): ["wherever they read those of q, k and v", "larger than the base's"],
    ("gpt2", ()): ["engines read it as they read the base"],
}


@pytest.mark.parametrize(("model_type", "new_biases"), ENGINES, ids=str)
def test_each_engine_is_told_of_that_reads_refuses_or_skips_a_bias(model_type, new_biases):
    said = describe_engines(model_type, new_biases)
    for words, sentence in zip(ENGINES[model_type, new_biases], said, strict=False):
        assert words in sentence


def test_the_licence_is_that_of_the_bases_own_card(tmp_path):
    assert base_licence(str(tmp_path)) is None
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n# A base\n")
    assert base_licence(str(tmp_path)) == "mit"
    (tmp_path / "README.md").write_text("---\nlicense: [\n---\n# A base\n")
    assert base_licence(str(tmp_path)) is None


def test_a_folder_is_called_by_its_own_name(tmp_path):
    assert name_of(str(tmp_path)) == tmp_path.name
    assert name_of("owner/model") == "owner/model"


def test_older_names_stand_beside_the_new_ones_at_every_depth():
    long = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0}
    both = {"full_attention": {"rope_theta": 1e6}, "sliding_attention": {"rope_theta": 1e4}}
    found = with_older_names({"dtype": "bfloat16", "rope_parameters": long, "text_config": {"rope_parameters": both}})
    assert (found["torch_dtype"], found["rope_theta"], found["rope_scaling"]) == ("bfloat16", 5e5, long)
    assert (found["text_config"]["rope_theta"], found["text_config"]["rope_local_base_freq"]) == (1e6, 1e4)
    assert "rope_scaling" not in found["text_config"]
    assert with_older_names({"rope_theta": 1.0, "rope_parameters": {"rope_theta": 2.0}})["rope_theta"] == 1.0
    json.dumps(found)
