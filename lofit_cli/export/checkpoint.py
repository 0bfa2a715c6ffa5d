"""Writing a checkpoint that stock transformers loads, also those readers that are older than the one in use."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from lofit_cli.errors import UserError
from lofit_cli.interventions.peft_edit import LIBRARY_ERRORS, PeftEdit
from lofit_cli.models.decoder import Decoder

USUAL_ROPE = "default"


def write_checkpoint(lm: Decoder, model: PreTrainedModel, folder: Path, dtype: torch.dtype) -> None:
    """Write a model with the base's generation settings and tokenizer into a folder; its weights are cast last."""
    model.generation_config = lm.model.generation_config
    if dtype != torch.float32:
        nn.Module.to(model, dtype)
    model.save_pretrained(folder)
    lm.tokenizer.save_pretrained(folder)
    file = folder / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(with_older_names(config), indent=2) + "\n", encoding="utf-8")


def with_older_names(config: dict[str, Any]) -> dict[str, Any]:
    """Return a config that older readers understand as well: they know some settings under other names.

    transformers 5 keeps the base of the rotary embedding in `rope_parameters` alone, and 4.57 reads `rope_theta` beside
    it, taking 10000 where there is none.
    """
    found = {name: with_older_names(part) if isinstance(part, dict) else part for name, part in config.items()}
    if found.get("dtype") is not None:
        found.setdefault("torch_dtype", found["dtype"])
    rope = found.get("rope_parameters")
    if isinstance(rope, dict):
        for name, value in _older_rope(rope).items():
            found.setdefault(name, value)
    return found


def _older_rope(rope: dict[str, Any]) -> dict[str, Any]:
    full = rope.get("full_attention", rope)
    older = {name: full[name] for name in ("rope_theta", "partial_rotary_factor") if full.get(name) is not None}
    if full.get("rope_type", USUAL_ROPE) != USUAL_ROPE:
        older["rope_scaling"] = full
    if sliding := rope.get("sliding_attention"):
        older["rope_local_base_freq"] = sliding.get("rope_theta")
    return {name: value for name, value in older.items() if value is not None}


def merged_state(lm: Decoder, edit: PeftEdit) -> dict[str, Tensor]:
    """Return the model's weights with an adapter merged into them, for good: the model itself is changed.

    Raises:
        UserError: this type of adapter can't be merged.
    """
    try:
        with edit.adapted(lm) as adapted:
            adapted.merge_and_unload(safe_merge=True)
    except (NotImplementedError, *LIBRARY_ERRORS) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(f"the peft library can't merge {edit.config['peft_type']} into weights ({reason}); use to=peft")
    return dict(lm.model.state_dict())
