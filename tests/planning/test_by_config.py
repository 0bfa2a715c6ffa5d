"""`--plan` where the weights are not on this machine: what the config alone tells."""

from pathlib import Path

import pytest
import transformers as t
from stage_runs import FAST

from lofit_cli.stages import select_heads, train_offsets


@pytest.fixture
def large(tmp_path, settings):
    """Settings of a model of which only the config is here: 2 layers of 4 heads of 8 numbers."""
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    t.LlamaConfig(vocab_size=100, **shape).save_pretrained(tmp_path / "large")
    return (f"model.id={tmp_path / 'large'}", *FAST)


@pytest.mark.parametrize("name", ["iti", "caa", "sadi"])
def test_by_config_a_method_that_trains_nothing_takes_no_steps(name, settings, large):
    made = train_offsets.plan_train_offsets(settings("train_offsets", *large, f"method={name}"))
    assert (made.num_steps, made.num_trained_parameters) == (0, 0)
    assert "nothing is trained" in made.notes


def test_by_config_offsets_are_on_the_heads_that_a_mask_names(settings, large):
    Path("three.json").write_text("[[0, 1], [1, 2], [1, 3]]")
    made = train_offsets.plan_train_offsets(settings("train_offsets", *large, "head_mask=three.json"))
    assert made.num_trained_parameters == 3 * 8


def test_by_config_gates_train_a_scale_and_an_offset_with_a_gate_each(settings, large):
    made = select_heads.plan_select_heads(settings("select_heads", *large, "selector=gates"))
    assert (made.num_steps, made.num_trained_parameters) == (4, 2 * 4 * (8 + 8 + 2))
