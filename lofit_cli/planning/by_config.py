"""What can be said of a run whose model can't be loaded here, from its config alone."""

from collections.abc import Callable
from typing import Any

from transformers import PreTrainedModel

from lofit_cli.artifacts.geometry import Geometry
from lofit_cli.models.checkpoint import read_outline
from lofit_cli.models.kept import bytes_of_kept_model
from lofit_cli.models.load import open_device
from lofit_cli.models.memory import free_memory, row_tokens
from lofit_cli.models.outline import find_files, kept_bytes, needed_bytes, weight_bytes
from lofit_cli.planning.making import FLOAT_BYTES, MOMENTS, MakingConfig, count_steps
from lofit_cli.planning.plan import Part, Plan
from lofit_cli.schema.sources import ModelConfig
from lofit_cli.schema.stages import EvaluateConfig
from lofit_cli.tasks.task import Task

UNKNOWN_TIME = Part("all of it", None, None)
WITHOUT_WEIGHTS = (
    "the weights are not on this machine or do not fit into its memory, so this is from config.json alone: time and "
    "tokens are not known, and the memory is the most that a row can take"
)

NOTHING_TRAINED = "nothing is trained"
WITHOUT_TOKENIZER = "the text counts as one item: into how many pieces it is cut, only the model's tokenizer tells"


def find_outline(config: ModelConfig) -> PreTrainedModel | None:
    """Return the model without its weights, where its config is here and its weights are not or do not fit.

    Raises:
        UserError: the device is not there, or the config is of no decoder.
    """
    files = find_files(config)
    if files.folder is None or (outline := read_outline(config, files.folder)) is None:
        return None
    needed, free = needed_bytes(outline, files, config), free_memory(open_device(config.device))
    # The model of the point before is let go first.
    fits = needed is None or free is None or needed <= free + bytes_of_kept_model()
    return None if files.weights and fits else outline


def stated_geometry(outline: PreTrainedModel) -> Geometry:
    """Return the heads that a config states, taking its layers as all alike; only a run of the model can tell."""
    config = outline.config.get_text_config(decoder=True)
    num_heads = int(config.num_attention_heads)
    head_dim = int(getattr(config, "head_dim", None) or config.hidden_size // num_heads)
    return Geometry.uniform(int(config.num_hidden_layers), num_heads, head_dim)


def plan_making_by_config(
    outline: PreTrainedModel, task: Task[Any], config: MakingConfig, count_parameters: Callable[[Geometry], int | None]
) -> Plan:
    """Return what is known of training.

    Args:
        count_parameters: how many are trained in a model of this geometry, 0 where nothing is trained; None where that
            is not known.
    """
    num_trained = count_parameters(stated_geometry(outline))
    num_items = len(task.items("train"))
    num_steps = count_steps(num_items, config.trainer) if num_trained != 0 else 0
    kept = kept_bytes(outline, _row(config.model)) or 0
    trained = (num_trained or 0) * FLOAT_BYTES * (2 + MOMENTS)
    memory = _memory(config.model, weight_bytes(outline) + kept + trained)
    notes = (WITHOUT_WEIGHTS, NOTHING_TRAINED) if num_trained == 0 else (WITHOUT_WEIGHTS,)
    return Plan(num_items, num_steps, None, num_trained, (UNKNOWN_TIME,), memory, notes)


def plan_measuring_by_config(outline: PreTrainedModel, task: Task[Any], config: EvaluateConfig) -> Plan:
    """Return what is known of measuring: a row has the logits of each token, in float32."""
    logits = _row(config.model) * int(outline.config.get_text_config(decoder=True).vocab_size) * FLOAT_BYTES
    memory = _memory(config.model, weight_bytes(outline) + logits)
    notes = (WITHOUT_WEIGHTS,) if task.knows_items else (WITHOUT_WEIGHTS, WITHOUT_TOKENIZER)
    return Plan(len(task.items(config.eval.split)), 0, None, None, (UNKNOWN_TIME,), memory, notes)


def _row(config: ModelConfig) -> int:
    return row_tokens(config, open_device(config.device))


def _memory(config: ModelConfig, num_bytes: int) -> dict[str, int]:
    return {"GPU memory" if open_device(config.device).type == "cuda" else "memory": num_bytes}
