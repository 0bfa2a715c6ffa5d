"""The one training loop: DPO or SFT of the numbers of an intervention on a frozen model."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.artifacts.seen_items import add_seen
from lofit_cli.console import progress_bar
from lofit_cli.errors import RunError
from lofit_cli.evaluation.measure import mean_metrics, measure_split
from lofit_cli.interventions.files import FILE_NAME, save_intervention
from lofit_cli.interventions.intervention import Intervention
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.models.logprobs import answer_logprobs, tokenize_items
from lofit_cli.models.packing import TokenSequence, group_rows
from lofit_cli.schema.components import TrainerConfig
from lofit_cli.schema.sources import EvalConfig
from lofit_cli.tasks.task import Example, Task
from lofit_cli.training.losses import dpo_loss, sft_loss

SEEN_SPLITS = ("train", "validation")


@dataclass(frozen=True)
class TrainingItem:
    """A prompt with its answers as tokens.

    Attributes:
        reference: (num_answers,) summed log-probabilities under the model without any edit, for DPO; empty for SFT.
        weight: how much the item counts in the mean over a batch: 1 for DPO, its number of answer tokens for SFT.
    """

    sequences: list[TokenSequence]
    num_chosen: int
    reference: Tensor
    weight: int


@dataclass
class Fit:
    """One training run.

    Attributes:
        intervention: what is trained, changed in place.
    """

    lm: LanguageModel
    task: Task[Any]
    trainer: TrainerConfig
    eval: EvalConfig
    intervention: Intervention
    run: RunDir
    seed: int

    @property
    def parameters(self) -> list[nn.Parameter]:
        """Return what is trained."""
        return list(self.intervention.parameters())

    def train(self) -> None:
        """Train for the configured epochs, logging each step and, after each epoch, the validation split.

        Leaves the last epoch's values, or those of the lowest validation loss if `keep` is `best`.

        Raises:
            RunError: the loss or its gradient is not finite; `intervention.safetensors` has the last good values.
        """
        add_seen(self.run.path, (item.fingerprint for split in SEEN_SPLITS for item in self.task.items(split)))
        self.run.record_settings(trainer=asdict(self.trainer))
        items, validation = self._prepare("train"), self._prepare("validation")
        optimizer = torch.optim.AdamW(
            self.parameters, lr=self.trainer.learning_rate, weight_decay=self.trainer.weight_decay
        )
        total = -(-len(items) // self.trainer.batch_size) * self.trainer.num_epochs
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / total)
        shuffle = torch.Generator().manual_seed(self.seed)
        best: list[Tensor] | None = None
        best_loss = math.inf
        with progress_bar("training", total) as advance, self._saved_on_error(), self._attached():
            for epoch in range(1, self.trainer.num_epochs + 1):
                order = torch.randperm(len(items), generator=shuffle).tolist()
                for first in range(0, len(items), self.trainer.batch_size):
                    batch = [items[i] for i in order[first : first + self.trainer.batch_size]]
                    advance(1, f"loss {self._step(batch, optimizer, schedule, epoch):.3f}")
                if not self._is_looked_at(epoch):
                    continue
                loss = self._validate(validation, epoch)
                if self.trainer.keep == "best" and loss < best_loss:
                    best, best_loss = self._values(), loss
        if best is not None:
            self._restore(best)

    @contextmanager
    def _attached(self) -> Iterator[None]:
        """Attach the intervention, in training, for the length of a `with` block."""
        self.intervention.train()
        try:
            with self.intervention.attach(self.lm):
                yield
        finally:
            self.intervention.eval()

    def _is_looked_at(self, epoch: int) -> bool:
        return epoch % self.trainer.validate_every == 0 or epoch == self.trainer.num_epochs

    def _values(self) -> list[Tensor]:
        return [parameter.detach().clone() for parameter in self.parameters]

    def _restore(self, values: list[Tensor]) -> None:
        for parameter, value in zip(self.parameters, values, strict=True):
            parameter.data.copy_(value)

    def _prepare(self, split: str) -> list[TrainingItem]:
        examples = self.task.examples(split)
        if self.task.objective == "sft":
            chosen = [(example.prompt, example.answers[: example.num_chosen]) for example in examples]
            tokenized = tokenize_items(self.lm, chosen, self.task.config.append_eos)
            return [TrainingItem(s, len(s), torch.empty(0), sum(len(t.tokens) - t.start for t in s)) for s in tokenized]
        return self._prepare_pairs(split, examples)

    def _prepare_pairs(self, split: str, examples: list[Example]) -> list[TrainingItem]:
        items = [(example.prompt, example.answers) for example in examples]
        tokenized = tokenize_items(self.lm, items, self.task.config.append_eos)
        prepared: list[TrainingItem] = []
        with torch.no_grad(), progress_bar(f"reference log-probabilities, {split}", len(items)) as advance:
            for group in group_rows(tokenized, self.lm.max_row_tokens):
                flat = answer_logprobs(self.lm, [sequence for item in group for sequence in item])
                for item, reference in zip(group, flat.split([len(item) for item in group]), strict=True):
                    prepared.append(TrainingItem(item, examples[len(prepared)].num_chosen, reference, 1))
                advance(len(group))
        return prepared

    def _step(
        self,
        batch: list[TrainingItem],
        optimizer: torch.optim.Optimizer,
        schedule: torch.optim.lr_scheduler.LambdaLR,
        epoch: int,
    ) -> float:
        start = time.perf_counter()
        optimizer.zero_grad()
        task_loss = self._task_loss(batch, backward=True)
        loss = task_loss + self._penalty()
        norm = float(nn.utils.clip_grad_norm_(self.parameters, self.trainer.max_grad_norm))
        step, rate = schedule.last_epoch + 1, schedule.get_last_lr()[0]
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise RunError(
                f"training is no longer finite at step {step} (loss {loss}, gradient norm {norm}); the last good state "
                f"is in {self.run.path / FILE_NAME}: lower trainer.learning_rate={self.trainer.learning_rate}"
            )
        optimizer.step()
        schedule.step()
        num_tokens = sum(len(sequence.tokens) for item in batch for sequence in item.sequences)
        self.run.append_line(
            "history.jsonl",
            {
                "step": step,
                "epoch": epoch,
                "loss": loss,
                "task_loss": task_loss,
                "gradient_norm": norm,
                "learning_rate": rate,
                "tokens_per_second": round(num_tokens / (time.perf_counter() - start), 1),
            },
        )
        return loss

    def _penalty(self) -> float:
        """Add the gradient of the L1 penalty and return its value."""
        if not self.trainer.l1:
            return 0.0
        penalty = self.trainer.l1 * torch.stack([parameter.abs().sum() for parameter in self.parameters]).sum()
        penalty.backward()
        return float(penalty.detach())

    def _task_loss(self, items: list[TrainingItem], backward: bool = False) -> float:
        """Return the mean loss over items, row by row so that memory does not grow with the batch."""
        total, weight = 0.0, sum(item.weight for item in items)
        waiting = iter(items)
        for group in group_rows([item.sequences for item in items], self.lm.max_row_tokens):
            flat = answer_logprobs(self.lm, [sequence for sequences in group for sequence in sequences])
            parts = zip(flat.split([len(sequences) for sequences in group]), waiting, strict=False)
            loss = torch.stack([self._item_loss(part, item) for part, item in parts]).sum() / weight
            if backward:
                loss.backward()
            total += float(loss.detach())
        return total

    def _item_loss(self, log_probs: Tensor, item: TrainingItem) -> Tensor:
        if self.task.objective == "sft":
            return sft_loss(log_probs)
        return dpo_loss(log_probs, item.reference, item.num_chosen, self.trainer.beta)

    def _validate(self, items: list[TrainingItem], epoch: int) -> float:
        """Log the validation split's loss, and its metrics where no text has to be generated; return the loss."""
        metrics: dict[str, float] = {}
        self.intervention.eval()
        with torch.no_grad():
            loss = self._task_loss(items)
            if not self.task.generates:
                metrics = mean_metrics(measure_split(self.lm, self.task, "validation", self.eval.protocol))
        self.intervention.train()
        self.run.append_line("validation.jsonl", {"epoch": epoch, "loss": loss, **metrics})
        return loss

    @contextmanager
    def _saved_on_error(self) -> Iterator[None]:
        """Keep what has been learnt; the manifest will say that the run did not finish."""
        try:
            yield
        except (KeyboardInterrupt, RunError):
            save_intervention(self.intervention, self.run.path, self.lm)
            raise
