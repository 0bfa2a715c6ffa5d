"""What a model's weights are, so that an artifact can say which ones it was made for."""

import hashlib
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from lofit_cli.models.decoder import Decoder
from lofit_cli.models.embedded import EMBEDDED_MODELS

SAMPLED_VALUES = 4096


def one_name(name: str) -> str:
    """Return one name for all that a model can be called by: a folder's whole path, and any other name as it is."""
    is_folder = name not in EMBEDDED_MODELS and Path(name).is_dir()
    return str(Path(name).resolve()) if is_folder else name


def name_of(model: str) -> str:
    """Return a Hub id as it is, and of a folder its own name: where it lies is nobody's business."""
    return Path(model).name if Path(model).is_dir() else model


def describe_model(lm: Decoder) -> dict[str, Any]:
    """Return what the manifest states of a model."""
    return {
        "model": lm.id,
        "model_commit": getattr(lm.model.config, "_commit_hash", None),
        "model_hash": weights_hash(lm.model),
        "num_model_parameters": lm.model.num_parameters(),
        "dtype": str(lm.model.dtype).removeprefix("torch."),
        "device": str(lm.model.device),
        "batching": lm.batching,
        "first_tokens": lm.tokenizer.convert_ids_to_tokens(lm.first_tokens),
        "chat_template": lm.chat.hash if lm.chat else None,
        "system_prompt": lm.chat.system_prompt if lm.chat else None,
    }


def weights_hash(model: PreTrainedModel) -> str:
    """Return a SHA-256 over each weight's name, shape and up to 4096 evenly spaced values."""
    digest = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        flat = weight.detach().flatten()
        sample = flat[:: max(1, flat.numel() // SAMPLED_VALUES)].float().cpu()
        digest.update(f"{name} {tuple(weight.shape)} ".encode())
        digest.update(sample.numpy().tobytes())
    return digest.hexdigest()
