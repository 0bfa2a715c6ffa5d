"""Writing a checkpoint that stock transformers loads, also those readers that are older than the one in use."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, PreTrainedModel

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
    _add_older_names(folder)


def _add_older_names(folder: Path) -> None:
    """Add to a config what older readers look for, unless the reader in use then understands it in another way."""
    file, before = folder / "config.json", _read_rope(folder)
    own = file.read_text(encoding="utf-8")
    file.write_text(json.dumps(with_older_names(json.loads(own)), indent=2) + "\n", encoding="utf-8")
    if _read_rope(folder) != before:
        file.write_text(own, encoding="utf-8")


def _read_rope(folder: Path) -> Any:
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False).get_text_config(decoder=True)
    return getattr(config, "rope_parameters", None), config.dtype


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
    if "full_attention" in rope:
        kinds = {"rope_theta": "full_attention", "rope_local_base_freq": "sliding_attention"}
        older = {name: rope.get(kind, {}).get("rope_theta") for name, kind in kinds.items()}
    else:
        older = {name: rope.get(name) for name in ("rope_theta", "partial_rotary_factor")}
        older["rope_scaling"] = rope if rope.get("rope_type", USUAL_ROPE) != USUAL_ROPE else None
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
