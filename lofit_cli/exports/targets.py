"""What `to=` names: how an edit leaves the lab, decided before anything is computed or written."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch

from lofit_cli.errors import UserError
from lofit_cli.exports.adapter import require_linear_maps, write_adapter, write_fold
from lofit_cli.exports.checkpoint import merged_state, write_checkpoint
from lofit_cli.exports.engines import LLAMA_CPP_ALL_BIASES, LLAMA_CPP_OUTPUT_BIAS
from lofit_cli.exports.fold import fold_edit, require_weights
from lofit_cli.exports.plan import Plan
from lofit_cli.exports.routes import Route, find_route, own_class
from lofit_cli.exports.vectors import require_control_vector, require_vectors, write_control_vector, write_vectors
from lofit_cli.interventions.bias_edit import BiasEdit
from lofit_cli.interventions.intervention import Intervention
from lofit_cli.interventions.peft_edit import PeftEdit
from lofit_cli.interventions.residual_edit import DirectionEdit
from lofit_cli.interventions.weights_edit import WeightsEdit
from lofit_cli.models.decoder import Decoder

WHOLE_WEIGHTS = "its weights are the model's own, all of them, and an adapter leaves those alone; use to=hf"


def plan_export(lm: Decoder, edit: Intervention, to: str) -> Plan:
    """Return how an edit is exported, refusing what can't be exact.

    Raises:
        UserError: says why it can't, and what can.
    """
    return PLANS[to](lm, edit)


def _plan_vector(lm: Decoder, edit: Intervention) -> Plan:
    vectors = require_vectors(edit)
    return Plan("vectors for hooks", "vectors", lambda folder, dtype: write_vectors(lm, vectors, folder))


def _plan_peft(lm: Decoder, edit: Intervention) -> Plan:
    require_weights(edit)
    if isinstance(edit, WeightsEdit):
        raise UserError(WHOLE_WEIGHTS)
    if isinstance(edit, PeftEdit):
        words = f"the adapter itself ({edit.config['peft_type']})"
        return Plan(words, "adapter", lambda folder, dtype: write_adapter(lm, edit, folder))
    fold = fold_edit(lm, edit)
    require_linear_maps(lm, fold)
    return Plan("LoRA with biases (lora_bias)", "adapter", lambda folder, dtype: write_fold(lm, fold, folder))


def _plan_gguf(lm: Decoder, edit: Intervention) -> Plan:
    if isinstance(edit, DirectionEdit):
        require_control_vector(edit)
        words = "a control vector of llama.cpp"
        return Plan(words, "control_vector", lambda folder, dtype: write_control_vector(lm, edit, folder))
    return _plan_weights(lm, edit, LLAMA_CPP_ALL_BIASES if isinstance(edit, BiasEdit) else LLAMA_CPP_OUTPUT_BIAS)


def _plan_hf(lm: Decoder, edit: Intervention) -> Plan:
    return _plan_weights(lm, edit, None)


def _plan_weights(lm: Decoder, edit: Intervention, allowed: frozenset[str] | None) -> Plan:
    require_weights(edit)
    find = cache(lambda: _find_route(lm, edit, allowed))
    # Merging changes the model, which has to be looked at first; all other routes are known by now.
    route = own_class(lm, {}) if isinstance(edit, PeftEdit) else find()
    old = {name for name in lm.model.state_dict() if name.endswith(".bias")}
    new = {name.removesuffix(".bias") for name in route.state if name.endswith(".bias") and name not in old}
    acting = frozenset(name.rpartition(".")[2] for name in new if route.state[f"{name}.bias"].any())
    kind = route.config.get_text_config(decoder=True).model_type

    def write(folder: Path, dtype: torch.dtype) -> None:
        write_checkpoint(lm, find().to_model(), folder, dtype)

    return Plan(f"weights in {route.words}", "weights", write, kind, acting)


def _find_route(lm: Decoder, edit: Intervention, allowed: frozenset[str] | None) -> Route:
    if isinstance(edit, PeftEdit):
        return own_class(lm, merged_state(lm, edit))
    if isinstance(edit, WeightsEdit):
        with edit.attach(lm):
            return own_class(lm, dict(lm.model.state_dict()))
    return find_route(lm, fold_edit(lm, edit), allowed)


PLANS: dict[str, Callable[[Decoder, Intervention], Plan]] = {
    "hf": _plan_hf,
    "peft": _plan_peft,
    "gguf": _plan_gguf,
    "vector": _plan_vector,
}
