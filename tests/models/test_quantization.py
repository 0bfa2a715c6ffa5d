"""A base in fewer bits gives the numbers and the gradients of its own weights, written out in floats."""

from importlib.util import find_spec

import pytest
import torch
from making import make
from tiny_models import build_model, build_tokenizer, edit_all_heads, random_values

from lofit_cli.errors import RunError, UserError
from lofit_cli.models import quantization, weights
from lofit_cli.models.load import load_model
from lofit_cli.models.logprobs import answer_logprobs, tokenize
from lofit_cli.models.quantization import LIBRARIES
from lofit_cli.models.weights import describe_model, weights_hash, whole_weights_hash
from lofit_cli.schema.sources import QUANTIZATIONS, ModelConfig

ITEMS = [("Q: which number? A:", [" the number 7", " No"]), ("Q: another? A:", [" answer", " the"])]
WEIGHT_ONLY = ("nf4", "torchao-int4", "torchao-int8")
SIZES = {"hidden_size": 64, "intermediate_size": 96}


def each(names):
    missing = {library: find_spec(library) is None for library in LIBRARIES.values()}
    skips = {name: pytest.mark.skipif(missing[LIBRARIES[name]], reason="not installed") for name in names}
    return [pytest.param(name, marks=mark) for name, mark in skips.items()]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = {}
    for dtype in ("float32", "bfloat16"):
        made[dtype] = str(tmp_path_factory.mktemp(dtype))
        build_model("llama", **SIZES).to(getattr(torch, dtype)).save_pretrained(made[dtype])
        build_tokenizer().save_pretrained(made[dtype])
    return made


def written_out(module):
    """Return a quantised map's weight in floats, by the library's own reading of it."""
    if hasattr(module.weight, "quant_state"):
        from bitsandbytes.functional import dequantize_4bit

        return dequantize_4bit(module.weight.data, module.weight.quant_state)
    return module.weight.dequantize()


def plain_twin(lm, folder):
    """Load the same checkpoint whole, and give each map the quantised one's weight."""
    plain = load_model(ModelConfig(folder))
    changed = 0
    for path, module in lm.model.named_modules():
        weight = getattr(module, "weight", None)
        if type(weight) not in (torch.nn.Parameter, type(None)):
            own = plain.model.get_submodule(path).weight
            assert not torch.equal(own, written_out(module))
            own.data = written_out(module).to(own.dtype)
            changed += 1
    assert changed == 3 * 7
    return plain


def log_probs_and_gradients(lm):
    sequences = [sequence for item in tokenize(lm, ITEMS) for sequence in item]
    edit = edit_all_heads(random_values(lm.geometry, 1), random_values(lm.geometry, 2))
    with edit.attach(lm):
        with torch.no_grad():
            before = answer_logprobs(lm, sequences)
        after = answer_logprobs(lm, sequences)
        (after * torch.arange(1, len(after) + 1)).sum().backward()
    return before, after.detach(), edit.scale.grad, edit.offset.grad


@pytest.mark.parametrize("name", each(WEIGHT_ONLY))
def test_numbers_and_gradients_are_those_of_the_same_weights_in_floats(folders, name):
    lm = load_model(ModelConfig(folders["float32"], quantization=name))
    assert lm.batching == "packed"
    expected = log_probs_and_gradients(plain_twin(lm, folders["float32"]))
    for found, wanted in zip(log_probs_and_gradients(lm), expected, strict=True):
        assert float((found - wanted).norm() / wanted.norm()) < 1e-4


@pytest.mark.parametrize("name", each(WEIGHT_ONLY))
def test_half_precision_rounds_a_quantised_base_as_it_rounds_a_plain_one(folders, name):
    lm = load_model(ModelConfig(folders["bfloat16"], quantization=name))
    assert (lm.model.dtype, lm.batching) == (torch.bfloat16, "packed")
    expected = log_probs_and_gradients(plain_twin(lm, folders["bfloat16"]))
    for found, wanted in zip(log_probs_and_gradients(lm), expected, strict=True):
        assert float((found - wanted).norm() / wanted.norm()) < 0.2


@pytest.mark.parametrize("name", each(["int8"]))
def test_eight_bits_whose_outliers_touch_other_tokens_are_computed_sequence_by_sequence(folders, name):
    lm = load_model(ModelConfig(folders["float32"], quantization=name))
    assert lm.batching == "single"
    sequences = [sequence for item in tokenize(lm, ITEMS) for sequence in item]
    together = answer_logprobs(lm, sequences)
    assert torch.equal(together, torch.cat([answer_logprobs(lm, [sequence]) for sequence in sequences]))
    whole = load_model(ModelConfig(folders["float32"]))
    for found, wanted in zip(log_probs_and_gradients(lm), log_probs_and_gradients(whole), strict=True):
        assert 0 < float((found - wanted).norm() / wanted.norm()) < 0.3


@pytest.mark.parametrize("name", each(QUANTIZATIONS))
@pytest.mark.parametrize("method", ["bitfit", "caa", "icl", "iti", "lofit", "lora", "loreft", "red", "repe"])
def test_each_method_works_on_a_quantised_base_and_leaves_it_as_it_was(folders, name, method, tmp_path):
    lm = load_model(ModelConfig(folders["float32"], quantization=name))
    before = weights_hash(lm.model)
    edit = make(method, lm, tmp_path)
    assert {parameter.dtype for parameter in edit.parameters()} <= {torch.float32}
    assert weights_hash(lm.model) == before
    if method in ("bitfit", "lofit", "lora", "loreft", "red"):
        changed = [bool(parameter.grad.any()) for parameter in edit.parameters() if parameter.grad is not None]
        assert len(changed) == len(list(edit.parameters()))
        assert any(changed)


@pytest.mark.parametrize("name", each(QUANTIZATIONS))
def test_every_part_of_a_quantised_weight_is_told(folders, name):
    lm, twin = (load_model(ModelConfig(folders["float32"], quantization=name)) for _ in range(2))
    before = whole_weights_hash(lm.model)
    assert whole_weights_hash(twin.model) == before
    assert whole_weights_hash(load_model(ModelConfig(folders["float32"])).model) != before
    for _, part in weights._parts("", lm.model.model.layers[1].self_attn.q_proj.weight):
        bits = part.detach().view(torch.uint8).view(-1)
        bits[-1] ^= 1
        assert whole_weights_hash(lm.model) != before
        bits[-1] ^= 1
        assert whole_weights_hash(lm.model) == before


@pytest.mark.parametrize("name", each(QUANTIZATIONS))
def test_full_fine_tuning_of_a_quantised_base_is_refused(folders, name, tmp_path):
    lm = load_model(ModelConfig(folders["float32"], quantization=name))
    with pytest.raises(UserError, match=r"method=full trains the weights themselves.*model\.quantization=none"):
        make("full", lm, tmp_path)


@pytest.mark.parametrize("name", each(QUANTIZATIONS))
def test_a_quantised_base_is_another_model_and_the_same_each_time(folders, name):
    whole = describe_model(load_model(ModelConfig(folders["bfloat16"])))
    found = [describe_model(load_model(ModelConfig(folders["bfloat16"], quantization=name))) for _ in range(2)]
    assert found[0] == found[1]
    assert (found[0]["quantization"], whole["quantization"]) == (name, None)
    assert found[0]["model_hash"] != whole["model_hash"]
    assert found[0]["model_config"] == whole["model_config"]
    assert found[0]["num_model_parameters"] == whole["num_model_parameters"]


@pytest.mark.parametrize("name", each(["nf4"]))
def test_a_checkpoint_that_is_quantised_already_is_not_quantised_again(folders, name, tmp_path):
    lm = load_model(ModelConfig(folders["float32"], quantization=name))
    lm.model.save_pretrained(tmp_path)
    lm.tokenizer.save_pretrained(tmp_path)
    again = load_model(ModelConfig(str(tmp_path)))
    assert not any(getattr(module, "support_avx512bf16_for_cpu", False) for module in again.model.modules())
    assert torch.allclose(log_probs_and_gradients(again)[3], log_probs_and_gradients(lm)[3], rtol=1e-4)
    with pytest.raises(UserError, match=r"is quantised already; leave model\.quantization=nf4 out"):
        load_model(ModelConfig(str(tmp_path), quantization="nf4"))


@pytest.mark.parametrize("name", QUANTIZATIONS)
def test_without_its_library_a_quantisation_says_how_to_get_it(folders, name, monkeypatch):
    monkeypatch.setattr(quantization, "find_spec", lambda library: None)
    with pytest.raises(UserError) as error:
        load_model(ModelConfig(folders["float32"], quantization=name))
    assert str(error.value).endswith(f"which is not installed: pip install {LIBRARIES[name]}")


def test_an_unknown_quantisation_is_refused_with_the_nearest():
    with pytest.raises(UserError, match=r"model\.quantization=nf5 is not known; did you mean 'nf4'"):
        ModelConfig("m", quantization="nf5")
    assert ModelConfig("m", quantization="none").quantization is None


def test_training_that_no_gradient_reaches_is_stopped(folders, tmp_path):
    lm = load_model(ModelConfig(folders["float32"]))
    lm.model.lm_head.register_forward_hook(lambda module, given, output: output.detach().requires_grad_())
    with pytest.raises(RunError, match="no gradient reaches the trained numbers through this base model"):
        make("lofit", lm, tmp_path)


def test_parts_that_no_gradient_reaches_are_told_of(folders, tmp_path, capsys):
    lm = load_model(ModelConfig(folders["float32"]))
    lm.layers[1].register_forward_hook(lambda module, given, output: output.detach())
    make("loreft", lm, tmp_path)
    assert "no gradient reaches 3 of the 9 trained tensors" in " ".join(capsys.readouterr().err.split())


@pytest.fixture
def gpt2(tmp_path):
    build_model("gpt2", n_embd=64).save_pretrained(tmp_path)
    build_tokenizer().save_pretrained(tmp_path)
    return str(tmp_path)


@pytest.mark.parametrize("name", each(["torchao-int8"]))
def test_a_quantisation_that_finds_nothing_to_do_is_refused(gpt2, name):
    with pytest.raises(UserError, match=r"finds no linear map that it knows in model .*type gpt2"):
        load_model(ModelConfig(gpt2, quantization=name))


@pytest.mark.parametrize("name", each(["nf4"]))
def test_a_quantisation_of_less_than_half_of_a_model_is_told_of(gpt2, name, capsys):
    lm = load_model(ModelConfig(gpt2, quantization=name))
    maps = 3 * 12 * 64**2
    told = f"note: model.quantization=nf4 makes {maps / lm.model.num_parameters():.0%} of model"
    assert told in " ".join(capsys.readouterr().err.split())
