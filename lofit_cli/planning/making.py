"""How long it takes to make an intervention or to rank heads, which is mostly training."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.errors import RunError, UserError
from lofit_cli.interventions.intervention import Intervention
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.planning.plan import Part, Plan
from lofit_cli.planning.sample import peak, seconds_for_all, silent, spread
from lofit_cli.planning.scoring import count_tokens, seconds_to_measure
from lofit_cli.schema.components import TrainerConfig
from lofit_cli.schema.stages import SelectHeadsConfig, TrainOffsetsConfig
from lofit_cli.tasks.task import Task
from lofit_cli.training.objective import Objective, TrainingItem
from lofit_cli.training.trainer import summed_loss

MakingConfig = SelectHeadsConfig | TrainOffsetsConfig
Make = Callable[[Task[Any], Any, RunDir], Intervention]
"""Makes an intervention, or ranks heads and returns what is trained for that."""

FIRST_ITEMS = 2
MOMENTS = 2
"""What AdamW keeps of each number beside its value and gradient: two means (Kingma and Ba 2015, arXiv 1412.6980)."""
FLOAT_BYTES = 4
MAX_VALIDATION = 100
"""As many validation items candidates are measured on at most."""


def plan_making(
    lm: LanguageModel, load_seconds: float, task: Task[Any], config: MakingConfig, stage: str, make: Make
) -> Plan:
    """Return what making takes: part by part of training, or by a rehearsal on few items where nothing is trained."""
    loading = Part("loading", None, load_seconds)
    with silent():
        rehearsal = _Rehearsal(lm, task, config, stage, make)
        seconds = rehearsal.seconds()
        if rehearsal.trained is None:
            return _plan_of_rehearsal(rehearsal, loading, seconds)
        return _plan_of_training(lm, task, config, rehearsal.trained, loading)


def count_steps(num_items: int, trainer: TrainerConfig) -> int:
    """Return how many steps training takes in all epochs."""
    return -(-num_items // trainer.batch_size) * trainer.num_epochs


def count_validations(trainer: TrainerConfig) -> int:
    """Return how often the validation split is looked at: every so many epochs, and after the last one."""
    return -(-trainer.num_epochs // trainer.validate_every)


def _plan_of_training(
    lm: LanguageModel, task: Task[Any], config: MakingConfig, edit: Intervention, loading: Part
) -> Plan:
    trainer, objective = config.trainer, Objective(lm, task, config.trainer.beta, pair_loss=edit.pair_loss)
    train, validation = objective.tokenize("train"), objective.tokenize("validation")
    num_train, num_validation = _num_tokens(train), _num_tokens(validation)
    num_looks, num_steps = count_validations(trainer), count_steps(len(train), trainer)
    edit.train()
    num_directions = len(edit.signs)
    with edit.attach(lm):
        step = _seconds(edit, objective, train, trainer.batch_size, backward=True)
        summed_loss(edit, objective, [max(train, key=lambda item: _num_tokens([item]))], backward=True)
        edit.eval()
        look = _seconds(edit, objective, validation, trainer.batch_size, backward=False)
        sizes, measuring = [0], 0.0
        if not task.generates:
            sizes = count_tokens(lm, task, "validation", config.eval.protocol)
            measuring = seconds_to_measure(lm, task, "validation", config.eval.protocol, sizes)
    parts = [loading]
    if task.objective == "dpo":
        both = num_train + num_validation
        parts.append(Part("reference", both, look * both / (num_validation * num_directions)))
    num_tokens, num_looked = num_train * num_directions * trainer.num_epochs, num_validation * num_directions
    parts.append(Part("training", num_tokens, step * trainer.num_epochs))
    parts.append(Part("validation", (num_looked + sum(sizes)) * num_looks, (look + measuring) * num_looks))
    coming = sum(p.numel() for p in edit.parameters()) * FLOAT_BYTES * (MOMENTS + (trainer.keep == "best"))
    memory = peak(coming, on_gpu=lm.device.type == "cuda")
    frozen = edit.num_untouched_layers()
    notes = (f"less time, as the lowest {frozen} of {len(lm.layers)} layers are computed once",) if frozen else ()
    return Plan(len(train), num_steps, num_tokens, edit.num_parameters, tuple(parts), memory, notes)


def _num_tokens(items: Sequence[TrainingItem]) -> int:
    return sum(len(sequence.tokens) for item in items for sequence in item.sequences)


def _seconds(
    edit: Intervention, objective: Objective, items: list[TrainingItem], batch_size: int, backward: bool
) -> float:
    """Return how long the loss of all items takes, in batches, with its gradient or without one."""
    order = torch.randperm(len(items), generator=torch.Generator().manual_seed(0)).tolist()
    total = _num_tokens(items)

    def work(num_batches: int) -> float:
        taken = [items[place] for place in order[: num_batches * batch_size]]
        with torch.set_grad_enabled(backward):
            for first in range(0, len(taken), batch_size):
                summed_loss(edit, objective, taken[first : first + batch_size], backward)
        return _num_tokens(taken) / total

    return seconds_for_all(work, -(-len(items) // batch_size), 1)


@dataclass
class _Rehearsal:
    """Making on few items and for one epoch, in a folder that is removed; it fails where the run itself would.

    Attributes:
        trained: what was trained, if anything was.
    """

    lm: LanguageModel
    task: Task[Any]
    config: MakingConfig
    stage: str
    make: Make
    trained: Intervention | None = None

    def seconds(self) -> float:
        """Return how long it takes on all items; of what is trained, only that it is."""
        total = len(self.task.items("train"))
        try:
            return seconds_for_all(self._work, total, FIRST_ITEMS)
        except RunError:
            raise
        except UserError:
            # So few items may be too few for it; what the run refuses is refused on all of them, too.
            return seconds_for_all(self._work, total, total)

    def _work(self, num_items: int) -> float:
        if self.trained is not None:
            return 1.0
        share = num_items / len(self.task.items("train"))
        few = {split: spread(items, -int(-share * len(items) // 1)) for split, items in self._splits().items()}
        config = replace(self.config, trainer=replace(self.config.trainer, num_epochs=1))
        with tempfile.TemporaryDirectory() as folder:
            run = RunDir(Path(folder), self.stage)
            made = self.make(self.task.with_items(few), config, run)
            if run.has_lines("history.jsonl"):
                self.trained = made
        return share

    def _splits(self) -> dict[str, Any]:
        """Return the items that are made from: those that candidates are chosen by are not more than so many."""
        found = {split: self.task.items(split) for split in ("train", "validation") if self.task.splits.get(split)}
        if self.stage == "train_offsets" and "validation" in found:
            found["validation"] = found["validation"][:MAX_VALIDATION]
        return found


def _plan_of_rehearsal(rehearsal: _Rehearsal, loading: Part, seconds: float) -> Plan:
    lm, task = rehearsal.lm, rehearsal.task
    num_items, num_answers = len(task.items("train")), sum(len(e.answers) for e in task.contrasts("train"))
    numbers = lm.geometry.total_heads * lm.geometry.head_dim
    parts = (loading, Part("making", None, seconds))
    note = "nothing is trained: the time is that of few items, times how many more there are"
    return Plan(num_items, 0, None, 0, parts, peak(num_answers * numbers * FLOAT_BYTES), (note,))
