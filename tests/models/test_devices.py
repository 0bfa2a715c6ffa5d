"""Devices of any make are found, and what is said of their memory is what torch tells of it."""

import sys
from types import SimpleNamespace

import pytest
import torch
from tiny_models import build_model, build_tokenizer
from torch.utils._python_dispatch import TorchDispatchMode

from lofit_cli.artifacts.provenance import peak_memory, reset_peak_memory
from lofit_cli.errors import UserError
from lofit_cli.models import load, memory
from lofit_cli.models.checkpoint import open_checkpoint, read_weights
from lofit_cli.models.devices import find_device
from lofit_cli.models.load import load_model
from lofit_cli.models.memory import is_out_of_memory, out_of_memory_in_a_run, row_tokens
from lofit_cli.models.outline import find_files, needed_bytes, weight_bytes
from lofit_cli.schema.sources import ModelConfig


@pytest.fixture
def accelerator(monkeypatch):
    """Return a function that makes torch say that it has found this accelerator."""

    def found(name):
        monkeypatch.setattr(torch.accelerator, "is_available", lambda: name is not None)
        monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: name and torch.device(name))
        monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)

    return found


@pytest.mark.parametrize("name", ["cuda", "mps", "xpu", None])
def test_auto_is_whatever_accelerator_torch_has_found(accelerator, name):
    accelerator(name)
    assert find_device("auto").type == (name or "cpu")
    assert find_device("cpu").type == "cpu"
    assert row_tokens(ModelConfig("m"), find_device("auto")) == (4096 if name else 512)
    assert row_tokens(ModelConfig("m", max_row_tokens=7), find_device("auto")) == 7


def test_a_device_that_is_not_there_is_refused_with_those_that_are(tmp_path):
    for name in ("xpu", "cuda:9", "nonsense"):
        with pytest.raises(UserError, match=rf"model\.device={name} is not there; allowed: auto, and here cpu"):
            load_model(ModelConfig(str(tmp_path), device=name))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RuntimeError("MPS backend out of memory (MPS allocated: 8.0 GB, max allowed: 9.0 GB)"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (torch.OutOfMemoryError("XPU out of memory."), True),
        (RuntimeError("shape '[64, 1]' is invalid"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_every_accelerators_way_of_saying_that_memory_is_short_is_known(error, expected):
    assert is_out_of_memory(error) is expected


def test_the_sentence_states_the_memory_where_torch_tells_it(accelerator, monkeypatch):
    accelerator("xpu")
    monkeypatch.setattr(torch.xpu, "mem_get_info", lambda device: (2 * 10**9, 16 * 10**9))
    said = str(out_of_memory_in_a_run(ModelConfig("m")))
    assert said.startswith("the memory of xpu (16.0 GB, 2.0 free) is too small for rows of 4096 tokens of model 'm'")
    accelerator("mps")
    assert str(out_of_memory_in_a_run(ModelConfig("m"))).startswith("the memory of mps is too small for rows of 4096")
    accelerator(None)
    assert str(out_of_memory_in_a_run(ModelConfig("m"))).startswith("the memory of this machine is too small")


def test_where_the_weights_do_not_fit_the_ways_out_are_named():
    said = str(memory.out_of_memory_at_load(ModelConfig("m"), 7 * 10**9))
    assert "28.0 GB in float32 and 14.0 GB in bfloat16" in said
    assert "model.quantization=nf4, model.device_map=auto" in said


def test_peak_memory_is_that_of_all_accelerators_of_any_make(accelerator, monkeypatch):
    peaks, reset = {0: 5, 1: 7}, []
    module = SimpleNamespace(
        is_initialized=lambda: True, max_memory_allocated=peaks.get, reset_peak_memory_stats=reset.append
    )
    accelerator("xpu")
    monkeypatch.setattr(torch, "xpu", module)
    reset_peak_memory()
    assert reset == [0, 1]
    assert peak_memory()["peak_gpu_memory_bytes"] == 12
    module.is_initialized = lambda: False
    assert "peak_gpu_memory_bytes" not in peak_memory()
    monkeypatch.delitem(sys.modules, "torch")
    assert "peak_gpu_memory_bytes" not in peak_memory()


class FloatsMade(TorchDispatchMode):
    """Notes how many numbers the largest float32 tensor has that any operation makes."""

    def __init__(self):
        super().__init__()
        self.largest = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **kwargs or {})
        if isinstance(made, torch.Tensor) and made.dtype == torch.float32 and not made.is_meta:
            self.largest = max(self.largest, made.numel())
        return made


def test_a_checkpoint_in_half_precision_is_never_copied_in_float32(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DEACTIVATE_ASYNC_LOAD", "1")  # or its threads would run outside of the watch
    build_model("llama").to(torch.bfloat16).save_pretrained(tmp_path)
    build_tokenizer().save_pretrained(tmp_path)
    source = str(tmp_path)
    architecture, _ = open_checkpoint(ModelConfig(source), source)
    with FloatsMade() as watch:
        model = read_weights(ModelConfig(source), source, architecture, torch.device("cpu"))
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
    smallest_map = min(weight.numel() for weight in model.parameters() if weight.ndim > 1)
    assert watch.largest < smallest_map / 10
    with FloatsMade() as watch:
        read_weights(ModelConfig(source, dtype="float32"), source, architecture, torch.device("cpu"))
    assert watch.largest >= smallest_map


def test_the_check_of_batching_sets_every_weight_back_to_half_precision(tmp_path):
    build_model("llama").to(torch.bfloat16).save_pretrained(tmp_path)
    build_tokenizer().save_pretrained(tmp_path)
    lm = load_model(ModelConfig(str(tmp_path)))
    assert {tensor.dtype for tensor in lm.model.state_dict().values()} == {torch.bfloat16}


@pytest.mark.parametrize("settings", [{"quantization": "nf4"}, {"device_map": "auto"}])
def test_what_a_quantised_or_spread_model_takes_is_not_claimed_to_be_known(tmp_path, settings):
    build_model("llama").save_pretrained(tmp_path)
    outline, files = build_model("llama"), find_files(ModelConfig(str(tmp_path)))
    assert needed_bytes(outline, files, ModelConfig(str(tmp_path))) == weight_bytes(outline)
    assert needed_bytes(outline, files, ModelConfig(str(tmp_path), **settings)) is None


@pytest.mark.parametrize("number", [0, 1, 2])
def test_each_of_several_processes_takes_an_accelerator_of_its_own(accelerator, monkeypatch, number):
    accelerator("cuda")
    taken = []
    monkeypatch.setattr(torch.accelerator, "set_device_index", taken.append)
    for name, value in {"RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": 3}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "1")
    if number < 2:
        assert load.own_device(torch.device("cuda")) == torch.device("cuda", number)
        assert taken == [number]
        assert load.own_device(torch.device("cpu")) == torch.device("cpu")
    for device, is_refused in ((torch.device("cuda"), number == 2), (torch.device("cuda:0"), True)):
        if is_refused:
            with pytest.raises(UserError, match="an accelerator of its own, of which this machine has 2"):
                load.own_device(device)
