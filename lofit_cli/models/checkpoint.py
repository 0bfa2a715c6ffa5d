"""Reading a checkpoint: its config, its tokenizer and its weights, each from the files and none of them made up."""

import atexit
import json
from collections.abc import Sequence
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

import torch
from safetensors import safe_open
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.distributed.configuration_utils import DistributedConfig
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME
from transformers.utils.hub import cached_file
from transformers.utils.peft_utils import find_adapter_config_file

from lofit_cli.console import say
from lofit_cli.errors import UserError
from lofit_cli.models.memory import is_out_of_memory, out_of_memory_at_load
from lofit_cli.models.quantization import keep_gradients, quantization_options, require_quantised
from lofit_cli.models.tensor_parallel import refuse_uneven_split
from lofit_cli.models.unreadable import unreadable_explained
from lofit_cli.processes import num_processes
from lofit_cli.schema.sources import DTYPES, ModelConfig

FLOATS = ("F", "BF")
"""How the names of types begin that are numbers as they stand, in safetensors files."""
NUM_NAMED = 3
"""Tensors that a sentence names; more are counted."""

Options = dict[str, Any]


def open_checkpoint(config: ModelConfig, source: str) -> tuple[PreTrainedConfig, PreTrainedTokenizerBase]:
    """Return a model's config and its tokenizer, before any of its weights are read.

    No code that comes with a checkpoint is ever run.

    Args:
        source: a folder or a Hub id.

    Raises:
        UserError: it is no causal language model.
        RunError: it could not be fetched or read.
    """
    options = _options(config)
    with unreadable_explained(config, source):
        _refuse_adapter(config.id, source, options)
        architecture = AutoConfig.from_pretrained(source, **options)
        _refuse_kernels(config.id, architecture)
        _reader(config.id, architecture)
        return architecture, AutoTokenizer.from_pretrained(source, use_fast=True, **options)


def read_weights(
    config: ModelConfig, source: str, architecture: PreTrainedConfig, device: torch.device
) -> PreTrainedModel:
    """Return the model on its device.

    Raises:
        UserError: its files do not hold every one of its weights.
        RunError: it could not be fetched or read, or does not fit into memory.
    """
    with unreadable_explained(config, source):
        return _read_model(config, source, architecture, device, _options(config))


def _options(config: ModelConfig) -> Options:
    return {"trust_remote_code": False} | ({"revision": config.revision} if config.revision else {})


def _read_model(
    config: ModelConfig, source: str, architecture: PreTrainedConfig, device: torch.device, options: Options
) -> PreTrainedModel:
    reader = _reader(config.id, architecture)
    refuse_uneven_split(config, architecture)
    # Flash attention takes no mask of ours; every family that has an SDPA kernel does.
    settings: Options = {
        "config": architecture,
        "dtype": "auto" if config.dtype == "auto" else getattr(torch, config.dtype),
        "use_safetensors": True,
        "ignore_mismatched_sizes": True,
        "output_loading_info": True,
        **quantization_options(config, architecture),
        **_placement(config, device),
    }
    model: PreTrainedModel
    try:
        model, report = reader.from_pretrained(source, **settings, **options)
    except Exception as error:
        if is_out_of_memory(error):
            raise out_of_memory_at_load(config, _num_weights(reader, architecture))
        raise
    if getattr(model, "hf_quantizer", None) is None:
        _refuse_integers(config.id, model, source, options)
    require_quantised(model, config)
    keep_gradients(model, config)
    _require_all(config.id, report)
    _require_nothing_more(config.id, model, sorted(report["unexpected_keys"]))
    if (dtype := str(model.dtype).removeprefix("torch.")) not in DTYPES:
        raise UserError(f"model.id={config.id} is in {dtype}; set model.dtype to {' or '.join(DTYPES)}")
    return model


def _reader(name: str, architecture: PreTrainedConfig) -> Any:
    """Return the class that loads such a model: a decoder, or one with eyes or ears besides."""
    if type(architecture) in MODEL_FOR_CAUSAL_LM_MAPPING:
        return AutoModelForCausalLM
    if type(architecture) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING and not architecture.is_encoder_decoder:
        return AutoModelForImageTextToText
    raise UserError(
        f"model.id={name} is of type '{architecture.model_type}', which transformers can't run as a decoder of text; "
        "choose a causal language model"
    )


def _placement(config: ModelConfig, device: torch.device) -> Options:
    """Return where weights go: to one device, layer by layer to where there is room, or a part to each process."""
    if config.tp:
        return {"distributed_config": DistributedConfig(tp_size=num_processes())}
    if config.device_map is None:
        return {"device_map": {"": device}}
    # What the disk holds in another form than the checkpoint is written here.
    folder = mkdtemp(prefix="lofit-offloaded-")
    atexit.register(rmtree, folder, ignore_errors=True)
    return {"device_map": config.device_map, "offload_folder": folder}


def read_outline(config: ModelConfig, folder: Path) -> PreTrainedModel | None:
    """Return the model as its config alone gives it, on the meta device: every weight has a shape and no numbers.

    None where the config can't be read, or the family's code does not do without numbers: loading it will tell.

    Raises:
        UserError: it is no causal language model.
    """
    try:
        architecture = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        _refuse_kernels(config.id, architecture)
        own = architecture.dtype or torch.float32
        with torch.device("meta"):
            dtype = own if config.dtype == "auto" else getattr(torch, config.dtype)
            model: PreTrainedModel = _reader(config.id, architecture).from_config(architecture, dtype=dtype)
    except UserError:
        raise
    except Exception:  # as for `unreadable_explained`
        return None
    model.eval().requires_grad_(False)
    return model


def _num_weights(reader: Any, architecture: PreTrainedConfig) -> int:
    with torch.device("meta"):
        return int(reader.from_config(architecture).num_parameters())


def _refuse_adapter(name: str, source: str, options: Options) -> None:
    if find_adapter_config_file(source, revision=options.get("revision")):
        raise UserError(
            f"model.id={name} holds an adapter of the peft library, not a model of its own; merge it into its base "
            "model (merge_and_unload, then save_pretrained) and name that folder"
        )


def _refuse_kernels(name: str, architecture: PreTrainedConfig) -> None:
    """Refuse a config that names an implementation of attention from the Hub, which is code too."""
    for part in (architecture, architecture.get_text_config(decoder=True)):
        if "/" in str(part._attn_implementation):
            raise UserError(
                f"model.id={name} asks for code of its own ({part._attn_implementation}), which is never run; take "
                "attn_implementation out of its config.json"
            )


def _refuse_integers(name: str, model: PreTrainedModel, source: str, options: Options) -> None:
    """Refuse quantised weights that were not read as such: as floats they are noise."""
    config_file = cached_file(source, "config.json", revision=options.get("revision"))
    parameters = {path for path, _ in model.named_parameters()}
    # A file may leave out the prefix of the whole model, or bring one along.
    prefix = f"{model.base_model_prefix}."
    known = parameters | {path.removeprefix(prefix) for path in parameters} | {prefix + path for path in parameters}
    for file in weight_files(Path(config_file or "").parent):
        with safe_open(file, framework="pt") as tensors:
            keys = [key for key in list(tensors.keys()) if key.endswith("weight") or key in known]
            if integers := [key for key in keys if not tensors.get_slice(key).get_dtype().startswith(FLOATS)]:
                raise UserError(
                    f"model.id={name} has whole numbers for weights ({_named(integers)}) and no quantization_config "
                    "that transformers knows; give its config.json the one that it was quantised with"
                )


def weight_files(folder: Path) -> list[Path]:
    """Return the files that an index names, or the one that has no index."""
    if (index := folder / SAFE_WEIGHTS_INDEX_NAME).exists():
        names = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        return [folder / name for name in sorted(set(names))]
    return sorted(folder.glob("model*.safetensors"))


def _require_all(name: str, report: dict[str, Any]) -> None:
    """Refuse a model of which some weights are not in the files, or in another shape."""
    if missing := sorted(report["missing_keys"]):
        others = sorted(report["unexpected_keys"])
        instead = f", which have {_named(others)} instead" if others else ""
        raise UserError(
            f"model.id={name} lacks weights in its files{instead}: {_named(missing)}, which would be random numbers; "
            "give the checkpoint of a whole causal language model, with the config.json that belongs to it"
        )
    if mismatched := sorted(report["mismatched_keys"]):
        names, found, wanted = zip(*mismatched, strict=True)
        raise UserError(
            f"model.id={name} has weights in other shapes than its config.json says: {_named(names)} "
            f"({tuple(found[0])} in the file, {tuple(wanted[0])} in the model); give the config.json that belongs to it"
        )


def _require_nothing_more(name: str, model: PreTrainedModel, unexpected: list[str]) -> None:
    """Refuse tensors that would act where the model computes (a bias, a quantisation's scale), and tell of others."""
    acting = [key for key in unexpected if _acts(model, key.rpartition(".")[0])]
    if acting:
        raise UserError(
            f"model.id={name} has tensors that its config.json leaves no place for: {_named(acting)}; without them it "
            "would be another model: give the config.json that belongs to it"
        )
    if unexpected:
        say(f"model '{name}' leaves tensors of its files unused: {_named(unexpected)}")


def _acts(model: PreTrainedModel, path: str) -> bool:
    """Return whether the model has weights of its own at this place."""
    modules = dict(model.named_modules())
    return path in modules and any(True for _ in modules[path].parameters(recurse=False))


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - NUM_NAMED} more" if len(names) > NUM_NAMED else ""
    return ", ".join(names[:NUM_NAMED]) + more
