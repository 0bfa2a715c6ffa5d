"""What can be said of a model before it is loaded: which of its files are here, and what its config alone says."""

from dataclasses import dataclass
from pathlib import Path

import torch
from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from transformers import PreTrainedModel

from lofit_cli.models.checkpoint import weight_files
from lofit_cli.models.embedded import EMBEDDED_MODELS, embedded_place
from lofit_cli.models.hooks import hooked_output
from lofit_cli.schema.sources import ModelConfig


@dataclass(frozen=True)
class ModelFiles:
    """The files of a model that are on this machine.

    Attributes:
        folder: what holds its config; None where that is not here.
        weights: the files with all of its weights; none where one of them is missing.
    """

    folder: Path | None
    weights: tuple[Path, ...] = ()

    @property
    def num_bytes(self) -> int:
        """Return how large the weights are as they are kept."""
        return sum(file.stat().st_size for file in self.weights)


def find_files(config: ModelConfig) -> ModelFiles:
    """Return which files of a model are here, without asking the network."""
    folder = _find_folder(config)
    if folder is None or not (folder / "config.json").is_file():
        return ModelFiles(None)
    weights = weight_files(folder)
    return ModelFiles(folder, tuple(weights) if all(file.is_file() for file in weights) else ())


def _find_folder(config: ModelConfig) -> Path | None:
    if config.id in EMBEDDED_MODELS:
        return embedded_place(config.id)
    if Path(config.id).is_dir():
        return Path(config.id)
    try:
        found = try_to_load_from_cache(config.id, "config.json", revision=config.revision)
    except HFValidationError:
        return None
    return Path(found).parent if isinstance(found, str) else None


def weight_bytes(model: PreTrainedModel) -> int:
    """Return how much memory the weights take in the model's dtype; tied ones count once."""
    return sum(weight.numel() * weight.element_size() for weight in model.parameters())


def needed_bytes(outline: PreTrainedModel | None, files: ModelFiles, config: ModelConfig | None = None) -> int | None:
    """Return how much memory the weights will take; as much as their files where these are quantised.

    None where it can't be said: where they are quantised as they are loaded, or go where there is room.

    Args:
        outline: None where there is none; then, too, the files have to tell.
        config: how the model is to be loaded, if it is.
    """
    if config and (config.quantization or config.device_map):
        return None
    if outline is not None and getattr(outline.config, "quantization_config", None) is None:
        return weight_bytes(outline)
    return files.num_bytes if files.weights else None


def kept_bytes(model: PreTrainedModel, num_tokens: int) -> int | None:
    """Return how much a forward pass of a row keeps for the way back, at most: with the logits of every token.

    None where the family's code does not run without numbers. It is counted as the model runs on the meta device, where
    attention has no kernel that keeps less than all pairs.

    Args:
        model: an outline, frozen: the gradient is asked for from the embeddings on.
    """
    kept: dict[int, Tensor] = {}
    weights = {id(weight) for weight in model.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        if id(tensor) not in weights and id(tensor._base) not in weights:
            kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    tokens = torch.zeros(1, num_tokens, dtype=torch.long, device="meta")
    mask = torch.zeros(1, 1, num_tokens, num_tokens, dtype=model.dtype, device="meta")
    positions = torch.arange(num_tokens, device="meta")[None]
    embeddings = model.get_input_embeddings()
    try:
        with hooked_output(embeddings, Tensor.requires_grad_), saved_tensors_hooks(keep, lambda tensor: tensor):
            logits = model(input_ids=tokens, position_ids=positions, attention_mask=mask, use_cache=False).logits
            found = logits.float().logsumexp(dim=-1)
    except Exception:  # whatever its code says to tensors without numbers
        return None
    del found
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
