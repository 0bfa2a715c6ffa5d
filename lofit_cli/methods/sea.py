"""SEA: spectral editing of feed-forward outputs, in closed form."""

from typing import Any, cast

from torch import Tensor

from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.artifacts.seen_items import add_seen
from lofit_cli.console import progress_bar, say
from lofit_cli.errors import UserError
from lofit_cli.interventions.intervention import Intervention
from lofit_cli.interventions.projection_edit import ProjectionEdit, leading
from lofit_cli.methods.grid_search import Candidate, keep_best
from lofit_cli.models.activations import last_token_outputs
from lofit_cli.models.generation import generate_lines
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.models.logprobs import tokenize_items
from lofit_cli.models.mlps import find_mlps
from lofit_cli.schema.fitted_methods import SeaConfig
from lofit_cli.schema.stages import TrainOffsetsConfig
from lofit_cli.tasks.task import Example, Task

SIXTHS = (1, 2, 4)
"""The default numbers of last layers, in sixths of the model's; four are the paper's own choice, 21 of 32 layers."""


def make_sea(
    lm: LanguageModel, task: Task[Any], config: TrainOffsetsConfig, head_mask: Tensor, run: RunDir
) -> Intervention:
    """Return the edit of the last layers, as many as do best on the validation split.

    Raises:
        UserError: the model has fewer layers than are asked for.

    Source: SEA (arXiv 2405.09719): the states behind the model's own, a right and a wrong answer to each question.
    """
    settings, num_layers = cast(SeaConfig, config.method), lm.geometry.num_layers
    counts = settings.num_layers or sorted({max(1, num_layers * sixths // 6) for sixths in SIXTHS})
    if max(counts) > num_layers:
        raise UserError(f"method.num_layers={counts} are not all there; allowed: 1 to {num_layers}")
    own, right, wrong = read_states(lm, task, run)
    kept, removed = (
        [leading(own[:, i], states[:, i], settings.share) for i in range(num_layers)] for states in (right, wrong)
    )
    firsts = [num_layers - count for count in counts]
    candidates = {
        Candidate(layer=first): ProjectionEdit(list(range(first, num_layers)), kept[first:], removed[first:])
        for first in firsts
    }
    return keep_best(lm, task, config, candidates, run)


def read_states(lm: LanguageModel, task: Task[Any], run: RunDir) -> tuple[Tensor, Tensor, Tensor]:
    """Return (num_items, num_layers, hidden) feed-forward outputs behind the own, a right and a wrong answer.

    Raises:
        UserError: a chat model has no answer of its own.
    """
    add_seen(run.path, (item.fingerprint for item in task.items("train")))
    contrasts, mlps = task.contrasts("train"), find_mlps(lm)
    with progress_bar("own answers, train", len(contrasts)) as advance:
        said = generate_lines(lm, [contrast.prompt for contrast in contrasts], task.config.max_new_tokens, advance)
    # A model that says nothing is taken by its silence: what stands there is the prompt's last token.
    prompted = [
        (contrast.prompt, (f" {line}" if line else "\n", contrast.answers[0], contrast.answers[contrast.num_chosen]))
        for line, contrast in _answered(lm, list(zip(said, contrasts, strict=True)))
    ]
    sequences = [sequence for item in tokenize_items(lm, prompted) for sequence in item]
    with progress_bar("feed-forward outputs, train", len(sequences)) as advance:
        states = last_token_outputs(lm, mlps, sequences, advance).unflatten(0, (-1, 3))
    own, right, wrong = states.unbind(dim=1)
    return own, right, wrong


def _answered(lm: LanguageModel, items: list[tuple[str, Example]]) -> list[tuple[str, Example]]:
    """Return the items without those to which a chat model says nothing: its turns can't be empty.

    Raises:
        UserError: it says nothing at all.
    """
    answered = [(line, contrast) for line, contrast in items if line or not lm.chat]
    if not answered:
        raise UserError(
            f"method=sea reads the model's own answers, and model '{lm.id}' says nothing to any of the {len(items)} "
            "training items; set model.chat_template=false, or choose another model"
        )
    if silent := len(items) - len(answered):
        say(f"note: method=sea leaves out {silent} of {len(items)} training items, to which the model says nothing")
    return answered
