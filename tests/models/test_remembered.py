"""What a model makes of texts is taken from the cache only where each of its bits would be the same."""

from dataclasses import replace

import pytest
import torch
from tiny_models import build_language_model, edit_all_heads

from lofit_cli.artifacts import cache as store
from lofit_cli.artifacts import provenance
from lofit_cli.artifacts.cache import find_entries
from lofit_cli.models import remembered as module
from lofit_cli.models.packing import TokenSequence
from lofit_cli.models.remembered import remembered
from lofit_cli.models.weights import bit_sums, whole_weights_hash

ITEMS = [[TokenSequence((1, 2, 3), 1), TokenSequence((1, 2, 4), 1)], [TokenSequence((5, 6), 1)]]


@pytest.fixture
def lm(cache):
    """A tiny model that remembers what it has computed of ITEMS."""
    made = replace(build_language_model("llama"), remembers=True)
    assert computes(made)
    return made


def computes(lm, items=ITEMS, **settings):
    """Return whether something is computed rather than taken; either way it has the same bits."""
    made = []

    def compute():
        made.append(torch.arange(4.0) / 3)
        return {"values": made[0]}

    assert torch.equal(remembered(lm, "scores", items, compute, **settings)["values"], torch.arange(4.0) / 3)
    return bool(made)


def change(name, value, lm):
    with torch.no_grad():
        lm.model.get_parameter(name).view(-1)[-1] = value
    return lm


def last_bit(lm):
    """Move one number of the largest weight by its last bit."""
    weight = lm.model.model.embed_tokens.weight
    with torch.no_grad():
        weight[150, 7] = torch.nextafter(weight[150, 7], torch.tensor(9.0))
    return lm


MODELS = {
    "one bit of a weight": last_bit,
    "a norm": lambda lm: change("model.norm.weight", 1.5, lm),
    "row tokens": lambda lm: replace(lm, max_row_tokens=65),
    "batching": lambda lm: replace(lm, batching="padded"),
    "dtype": lambda lm: (lm.model.to(torch.bfloat16), lm)[1],
    "config": lambda lm: (setattr(lm.model.config, "rms_norm_eps", 1e-3), lm)[1],
    "attention": lambda lm: (lm.model.set_attn_implementation("eager"), lm)[1],
    "a buffer": lambda lm: (lm.model.model.rotary_emb.inv_freq.mul_(2), lm)[1],
}


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_another_model_or_other_passes_compute_anew(lm, make):
    assert not computes(lm)
    other = make(lm)
    assert [computes(other), computes(other)] == [True, False]


OTHER_ITEMS = {
    "a token": [ITEMS[0], [TokenSequence((5, 7), 1)]],
    "where an answer begins": [[TokenSequence((1, 2, 3), 2), ITEMS[0][1]], ITEMS[1]],
    "the order": ITEMS[::-1],
    "which items they belong to": [ITEMS[0][:1], [ITEMS[0][1], *ITEMS[1]]],
}


@pytest.mark.parametrize("items", OTHER_ITEMS.values(), ids=OTHER_ITEMS)
def test_other_sequences_compute_anew(lm, items):
    assert [computes(lm, items), computes(lm, items), computes(lm)] == [True, False, False]


def test_other_settings_compute_anew(lm):
    assert [computes(lm, length=1), computes(lm, length=2), computes(lm, length=1)] == [True, True, False]


SURROUNDINGS = {
    "threads": lambda patch: patch.setattr(torch, "get_num_threads", lambda: 7),
    "vector instructions": lambda patch: patch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX9"),
    "torch": lambda patch: patch.setattr(torch, "__version__", "2.99.0+other"),
    "a library's kernels": lambda patch: patch.setenv("MKL_CBWR", "COMPATIBLE"),
    "the processor": lambda patch: patch.setattr(module, "_processor", lambda: "another"),
    "our code": lambda patch: patch.setattr(module, "describe_code", lambda: {"lofit": "other"}),
    "the format": lambda patch: patch.setattr(store, "VERSION", "v2"),
    "precision": lambda patch: patch.setattr(torch, "get_float32_matmul_precision", lambda: "medium"),
}


@pytest.mark.parametrize("surround", SURROUNDINGS.values(), ids=SURROUNDINGS)
def test_other_surroundings_compute_anew(lm, surround, monkeypatch):
    # What is said of the code is read once a process.
    provenance.describe_code.cache_clear()
    assert not computes(lm)
    provenance.describe_code.cache_clear()
    surround(monkeypatch)
    assert [computes(lm), computes(lm)] == [True, False]
    monkeypatch.undo()
    provenance.describe_code.cache_clear()


def test_nothing_is_kept_or_taken_of_a_model_that_is_edited_or_trained(lm):
    count = len(find_entries())
    with edit_all_heads(offset=torch.ones(3, 4, 8)).attach(lm):
        assert [computes(lm), computes(lm)] == [True, True]
    lm.model.lm_head.weight.requires_grad_()
    assert [computes(lm), computes(lm)] == [True, True]
    lm.model.lm_head.weight.requires_grad_(False)
    lm.model.train()
    assert [computes(lm), computes(lm)] == [True, True]
    lm.model.eval()
    assert not computes(lm)
    assert len(find_entries()) == count


def test_nothing_is_kept_of_a_model_that_is_not_asked_to_remember_or_without_room(lm, monkeypatch):
    assert computes(replace(lm, remembers=False))
    monkeypatch.setenv("LOFIT_CACHE_GB", "0")
    monkeypatch.setattr(module, "whole_weights_hash", lambda model: pytest.fail("the weights are read for nothing"))
    assert computes(lm)


def test_a_model_with_weights_out_of_memory_has_no_hash():
    lm = build_language_model("llama")
    lm.model.lm_head.to("meta")
    assert whole_weights_hash(lm.model) is None


TENSORS = [
    torch.randn(5, 7),
    torch.randn(3, 4, 5),
    torch.randn(9),
    torch.randn(()),
    torch.randn(6, 4, dtype=torch.bfloat16),
    torch.randn(4, 4).to(torch.float8_e4m3fn),
    torch.randint(-9, 9, (4, 6), dtype=torch.int8),
    torch.randn(3, 3, dtype=torch.complex64),
    torch.randn(4, 6).T,
]


@pytest.mark.parametrize("values", TENSORS, ids=lambda values: f"{values.dtype} {values.ndim}")
def test_sums_of_bits_tell_a_changed_number_and_two_that_changed_places(values):
    def told(changed):
        return any(not torch.equal(a, b) for a, b in zip(bit_sums(changed), bit_sums(values), strict=True))

    assert not told(values.clone())
    bits = values.contiguous().reshape(-1).view(torch.uint8)
    for place in range(len(bits)):
        changed = bits.clone()
        changed[place] ^= 1 << place % 8
        assert told(changed.view(values.dtype).reshape(values.shape))
    numbers = values.contiguous().reshape(-1)
    raw = bits.view(len(numbers), -1)
    for a in range(len(numbers)):
        for b in range(a):
            swapped = raw.clone()
            swapped[[a, b]] = raw[[b, a]]
            is_other = not torch.equal(raw[a], raw[b])
            assert told(swapped.reshape(-1).view(values.dtype).reshape(values.shape)) == is_other


def test_rows_that_change_places_are_told():
    values = torch.randn(6, 5)
    order = torch.tensor([0, 3, 2, 1, 4, 5])
    assert any(not torch.equal(a, b) for a, b in zip(bit_sums(values), bit_sums(values[order]), strict=True))


def test_the_hash_tells_every_single_number_of_a_model():
    lm = build_language_model("gpt2")
    before = whole_weights_hash(lm.model)
    assert whole_weights_hash(build_language_model("gpt2").model) == before
    for weight in lm.model.state_dict().values():
        flat = weight.view(-1)
        for place in (0, len(flat) // 2, len(flat) - 1):
            kept = flat[place].clone()
            flat[place] = torch.nextafter(kept, kept + 1)
            assert whole_weights_hash(lm.model) != before
            flat[place] = kept
    assert whole_weights_hash(lm.model) == before
