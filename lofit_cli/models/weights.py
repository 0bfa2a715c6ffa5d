"""What a model's weights are, so that an artifact can say which ones it was made for."""

import hashlib

from transformers import PreTrainedModel

SAMPLED_VALUES = 4096


def weights_hash(model: PreTrainedModel) -> str:
    """Return a SHA-256 over each weight's name, shape and up to 4096 evenly spaced values."""
    digest = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        flat = weight.detach().flatten()
        sample = flat[:: max(1, flat.numel() // SAMPLED_VALUES)].float().cpu()
        digest.update(f"{name} {tuple(weight.shape)} ".encode())
        digest.update(sample.numpy().tobytes())
    return digest.hexdigest()
