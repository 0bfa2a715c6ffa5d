"""Training of one edit on the same batches as a peer's, step by step and by itself."""

import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from unittest import mock

import peft
import torch
from measuring import Measured, Pass, stopwatch
from operations import scoring_flops, training_flops
from peers import Trainer
from place import SEED, Place
from torch import Tensor

from lofit_cli.interventions.head_edit import HeadEdit
from lofit_cli.models.attention_masks import row_masks
from lofit_cli.models.packing import PackedRow, group_rows, pack_row
from lofit_cli.models.trunk_rows import open_trunk
from lofit_cli.schema.components import TrainerConfig
from lofit_cli.training.descent import Descent
from lofit_cli.training.objective import Objective, TrainingItem

SCALE_SETTINGS = TrainerConfig(learning_rate=5e-3, l1=5e-4, batch_size=8)
OFFSET_SETTINGS = TrainerConfig(learning_rate=1e-2, batch_size=8)
"""Those of TruthfulQA in the paper's table 6."""
CACHE = "LOFIT_CACHE"
START = 0.05
"""The size of the scales at the first step. From 0 every model has the loss log 2, and nothing would be compared."""


@dataclass(frozen=True)
class Tokenized(Objective):
    """An objective whose training items are tokens already, because TRL's time does not hold its tokenising either."""

    known: tuple[TrainingItem, ...] = ()

    def tokenize(self, split: str) -> list[TrainingItem]:
        """Return what is known of the training split; tokenise any other."""
        return list(self.known) if split == "train" else super().tokenize(split)


class Training:
    """Training of one edit on the same batches of pairs, as `training.trainer.train` does it.

    Args:
        part: what is learnt of each head: `scale` or `offset`.
        heads: (num_layers, max_heads) bool.
    """

    def __init__(self, place: Place, part: str, heads: Tensor) -> None:
        self.place, self.lm, self.heads, self.part = place, place.lm, heads, part
        self.settings = SCALE_SETTINGS if part == "scale" else OFFSET_SETTINGS
        self.num_all = len(place.settings.task().items("train"))
        self.task = place.settings.task(append_eos=True, num_train=min(place.settings.pairs, self.num_all))
        plain = Objective(self.lm, self.task, self.settings.beta)
        self.items = plain.tokenize("train")
        trunk = open_trunk(self.lm, self.first_layer)
        self.objective = Tokenized(self.lm, self.task, self.settings.beta, trunk, known=tuple(self.items))
        size = START if part == "scale" else 0.0
        generator = torch.Generator().manual_seed(SEED)
        self.start = size * torch.randn(int(heads.sum()), self.lm.geometry.head_dim, generator=generator)

    @property
    def num_tokens(self) -> int:
        """Return the tokens of all pairs, each sequence written out."""
        return sum(len(sequence.tokens) for item in self.items for sequence in item.sequences)

    def batches(self, items: list[TrainingItem]) -> Iterable[list[TrainingItem]]:
        """Yield items in their order, as many as a step takes."""
        size = self.settings.batch_size
        return (items[first : first + size] for first in range(0, len(items), size))

    def edit(self) -> HeadEdit:
        """Return the edit before its first step."""
        return HeadEdit(self.lm.geometry, self.heads, **{self.part: self.start.clone()}).placed(self.lm)

    @property
    def first_layer(self) -> int:
        """Return the lowest layer that is edited."""
        return int(self.heads.any(dim=1).nonzero()[0])

    def needed(self) -> float:
        """Return the operations without which the steps can't be taken; the reference is not among them."""
        batches = [[s for item in batch for s in item.sequences] for batch in self.batches(self.items)]
        return training_flops(self.lm, batches, self.first_layer, self.objective.trunk is not None)

    def needed_reference(self) -> float:
        """Return the operations without which there is no reference."""
        return scoring_flops(self.lm, [s for item in self.items for s in item.sequences])

    def fresh(self, remembers: bool = False) -> Tokenized:
        """Return the objective as a run has it before anything is computed; one that remembers has a cache on disk."""
        trunk = self.objective.trunk and self.objective.trunk.emptied()
        return replace(self.objective, lm=replace(self.lm, remembers=remembers), trunk=trunk)

    def take_steps(self, objective: Objective, items: list[TrainingItem]) -> float:
        """Take a step for each batch, and return the first one's loss without the penalty."""
        edit = self.edit()
        batches = list(self.batches(items))
        descent, losses = Descent(edit, self.settings, len(batches)), []
        with edit.attach(self.lm):
            for batch in batches:
                losses.append(descent.find_gradient(lambda: objective.loss(batch, backward=True))["task_loss"])  # noqa: B023
                descent.move()
        return losses[0]

    def ours(self) -> Measured:
        """Compute the reference and take all steps."""
        objective = self.fresh()
        with stopwatch() as reference:
            items = objective.prepare("train")
        with stopwatch() as steps:
            loss = self.take_steps(objective, items)
        values = [loss, *per_token(torch.stack([item.reference for item in self.first(items)]), self.first(items))]
        parts = {"reference": reference.seconds, "steps": steps.seconds}
        return Measured(reference.seconds + steps.seconds, values, parts)

    def later_reference(self) -> float:
        """Return how long a run takes to get what an earlier one has computed before its first step."""
        with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ, {CACHE: folder}):
            self.fresh(remembers=True).prepare("train")
            with stopwatch() as later:
                self.fresh(remembers=True).prepare("train")
        return later.seconds

    def first(self, items: list[TrainingItem]) -> list[TrainingItem]:
        """Return the first batch."""
        return items[: self.settings.batch_size]

    def peer(self, adapter: peft.PeftConfig, checkpointing: bool) -> Measured:
        """Let TRL train an adapter on the same batches; where it scales head activations, from the same scales.

        Args:
            checkpointing: compute activations again on the way back, as is TRL's default.
        """
        texts = [(example.prompt.text, *example.answers) for example in self.task.examples("train")]
        rows = [{"prompt": prompt, "chosen": chosen, "rejected": rejected} for prompt, chosen, rejected in texts]
        trl = Trainer(self.lm.model, self.lm.tokenizer, rows, adapter, self.settings, checkpointing)
        if self.part == "scale":
            trl.start_from(1 + self.start)
        references = trl.first_references().T
        with stopwatch() as watch:
            trl.train()
        trl.close()
        return Measured(watch.seconds, [float(trl.losses[0]), *per_token(references, self.first(self.items))])

    def bare(self, rows: list[list[PackedRow]]) -> Measured:
        """Run the model as it is, forth and back to its inputs, over the rows of all batches."""
        with stopwatch() as watch:
            found = [run_bare(self, row) for batch in rows for row in batch]
        return Measured(watch.seconds, per_token(torch.cat(found[: len(rows[0])]).view(-1, 2), self.first(self.items)))

    def pack(self) -> list[list[PackedRow]]:
        """Return the rows of each batch."""
        groups = ([item.sequences for item in batch] for batch in self.batches(self.items))
        found = [group_rows(group, self.lm.max_row_tokens) for group in groups]
        return [[pack_row([s for sequences in row for s in sequences]) for row in batch] for batch in found]

    def passes(self) -> dict[str, Pass]:
        """Return the largest passes: ours a row, TRL's all sequences of a batch as long as the longest."""
        largest = max((row for batch in self.pack() for row in batch), key=lambda row: len(row.tokens))
        num_kept = self.lm.geometry.num_layers - self.first_layer
        lengths = [[len(s.tokens) for item in batch for s in item.sequences] for batch in self.batches(self.items)]
        padded, longest = max((len(found) * max(found), max(found)) for found in lengths)
        return {
            "ours": Pass(len(largest.tokens), len(largest.tokens), len(largest.predictors), num_kept),
            "peer": Pass(padded, longest, padded, self.lm.geometry.num_layers),
        }


def per_token(log_probs: Tensor, items: list[TrainingItem]) -> list[float]:
    """Return the mean log-probability of a token of each answer; `log_probs` is (num_items, 2)."""
    counts = torch.tensor([[len(s.tokens) - s.start for s in item.sequences] for item in items])
    return (log_probs.detach().cpu().float() / counts).flatten().tolist()


def run_bare(job: Training, row: PackedRow) -> Tensor:
    """Return (num_sequences,) log-probabilities of a row's answers, after the gradient has gone to the inputs."""
    model = job.lm.model
    inputs = model.get_input_embeddings()(row.tokens[None]).detach().requires_grad_()
    logits = model(
        inputs_embeds=inputs, position_ids=row.positions[None], attention_mask=row_masks(model, row, 0),
        use_cache=False, logits_to_keep=row.predictors,
    ).logits[0].float()  # fmt: skip
    scored = logits[row.scored_from, row.scored_tokens] - logits.logsumexp(dim=-1)[row.scored_from]
    scored.sum().backward()
    return torch.cat([scored.detach(), scored.new_zeros(1)])[row.sequence_scored].sum(dim=-1)
