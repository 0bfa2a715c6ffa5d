"""Loading any decoder, frozen, with its heads found."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.utils import logging as hub_logging
from transformers import PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from lofit_cli.console import say
from lofit_cli.errors import UserError, did_you_mean
from lofit_cli.models.chat import Chat, open_chat
from lofit_cli.models.checkpoint import open_checkpoint, read_weights
from lofit_cli.models.devices import describe_devices, find_device, input_device, is_offloaded
from lofit_cli.models.embedded import EMBEDDED_MODELS, embedded_model_dir
from lofit_cli.models.encoding import check_round_trip, first_tokens
from lofit_cli.models.forward import choose_tail
from lofit_cli.models.heads import find_heads
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.models.memory import fitting_row_tokens, if_possible
from lofit_cli.models.packing_check import choose_batching
from lofit_cli.processes import num_processes, require_one_process
from lofit_cli.schema.sources import ModelConfig
from lofit_cli.sharing import gathered, share_items, shares_items


def load_model(config: ModelConfig | str) -> LanguageModel:
    """Load a model by embedded name, Hub id or folder, or by its settings.

    Raises:
        UserError: the name is unknown, or the model has no attention heads.
        RunError: it could not be fetched.
    """
    if isinstance(config, str):
        config = ModelConfig(config)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    hub_logging.set_verbosity_error()
    source = check_source(config.id, "model.id")
    if config.revision and (source != config.id or Path(source).is_dir()):
        raise UserError(f"model.revision={config.revision} is for a model from the Hub; leave it out for {config.id}")
    _check_processes(config)
    device = own_device(open_device(config.device))
    architecture, tokenizer = open_checkpoint(config, source)
    _check_tokenizer(tokenizer, config)
    chat = _chat(config, tokenizer)
    model = read_weights(config, source, architecture, device)
    model.eval().requires_grad_(False)
    # As many for all processes that share a run as the least of them has room for.
    rows = min(gathered(lambda: fitting_row_tokens(config, model, input_device(model))))
    settings: dict[str, Any] = {"max_row_tokens": rows, "add_bos": config.add_bos, "chat": chat}
    if is_offloaded(model):
        say(
            f"note: model '{config.id}' has weights out of memory ({describe_devices(model)}), which are read again in "
            "each forward pass; use devices with more memory, model.quantization=nf4 or a smaller model.dtype"
        )
    lm = LanguageModel(config.id, model, tokenizer, *find_heads(model), quantization=config.quantization, **settings)
    tail = if_possible(lambda: choose_tail(lm))
    return replace(lm, batching=choose_batching(lm), tail=tail, open_other=load_other)


def load_other(config: ModelConfig) -> LanguageModel:
    """Load a model beside one that is there; where that one's parts need all processes, they share no items."""
    shared = shares_items()
    lm = load_model(config)
    share_items(shared and shares_items())
    return lm


def _check_tokenizer(tokenizer: PreTrainedTokenizerBase, config: ModelConfig) -> None:
    if not tokenizer.is_fast:
        raise UserError(f"model.id={config.id} has no fast tokenizer, which is needed to know where an answer begins")
    check_round_trip(tokenizer, f"model.id={config.id}")
    first_tokens(tokenizer, config.add_bos)


def _chat(config: ModelConfig, tokenizer: PreTrainedTokenizerBase) -> Chat | None:
    """Return the chat template that is to be used; advise to use one that there is."""
    if config.chat_template:
        return open_chat(tokenizer, config.system_prompt, config.id)
    if tokenizer.chat_template:
        say(
            f"note: model '{config.id}' was trained to chat and is asked without its chat template, as published "
            "protocols do; model.chat_template=true uses it"
        )
    return None


def check_source(name: str, key: str) -> str:
    """Return where a model's files are, refusing a name that no model can have.

    Args:
        key: the config key that the name was given for.
    """
    if name in EMBEDDED_MODELS:
        return str(embedded_model_dir(name))
    if "/" not in name and not Path(name).exists():
        raise UserError(
            f"{key}={name} is neither a folder nor a Hub id (owner/name); {did_you_mean(name, EMBEDDED_MODELS)}"
        )
    return name


@contextmanager
def naming_model(key: str) -> Iterator[None]:
    """Make an error about `model.id`, inside a `with` block, one about the key that the model was named by."""
    try:
        yield
    except UserError as error:
        error.args = (str(error).replace("model.id", key),)
        raise


def open_device(name: str) -> torch.device:
    """Return a device by name, or the best for `auto`, refusing one that is not there."""
    try:
        device = find_device(name)
        torch.empty(1, device=device).item()
    except (RuntimeError, AssertionError):
        others = " and ".join(dict.fromkeys(["cpu", find_device("auto").type]))
        raise UserError(f"model.device={name} is not there; allowed: auto, and here {others}")
    return device


def _check_processes(config: ModelConfig) -> None:
    """Refuse a placement that is not for as many processes as there are, and note what they can share."""
    if config.device_map:
        require_one_process(f"model.device_map={config.device_map}")
    if config.tp and num_processes() == 1:
        raise UserError(f"model.tp={config.tp} splits the model over processes; start several of them with torchrun")
    share_items(not config.tp)


def own_device(device: torch.device) -> torch.device:
    """Return the accelerator of this process, where several on one machine share a run and each takes one.

    Raises:
        UserError: there are fewer accelerators than processes, or all of them would take the same one.
    """
    if num_processes() == 1 or device.type == "cpu":
        return device
    number, count = int(os.environ.get("LOCAL_RANK", 0)), torch.accelerator.device_count()
    if device.index is not None or number >= count:
        raise UserError(
            f"each process of this run takes an accelerator of its own, of which this machine has {count}: leave out "
            "model.device, and start that many processes a machine"
        )
    torch.accelerator.set_device_index(number)
    return torch.device(device.type, number)
