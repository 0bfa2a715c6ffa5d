"""All that the next step of training depends on, kept in checkpoints, so that a run that was cut off can go on.

It ends bit for bit as if it had not been. A checkpoint is a safetensors file in `checkpoints/`, written whole; the
newest two are kept while the run lasts.
"""

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lofit_cli.artifacts.files import remove
from lofit_cli.artifacts.leftovers import CHECKPOINTS, LOGS
from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.artifacts.tensors import read_all_tensors, write_tensors
from lofit_cli.console import say
from lofit_cli.errors import UserError
from lofit_cli.processes import is_leader
from lofit_cli.sharing import led
from lofit_cli.signals import in_one_piece
from lofit_cli.training.checkpoints import require_fit
from lofit_cli.training.descent import Descent

KIND = "checkpoint"
HISTORY, VALIDATION = LOGS
NUM_KEPT = 2


@dataclass
class Position:
    """Where training stands: how much of which epoch is done, and what the log files say of it.

    Attributes:
        epoch: the one under way, from 1.
        num_batches: how many of its batches are done.
    """

    step: int = 0
    epoch: int = 1
    num_batches: int = 0
    num_validations: int = 0
    best_loss: float | None = None


class TrainingState:
    """A descent, where it stands, and the generators of what is random in it.

    Attributes:
        best: the parameters of the lowest validation loss, where these are to be kept.
        is_whole: whether all parts are of the same step, so that they can be kept.
    """

    def __init__(self, descent: Descent, seed: int) -> None:
        self.descent, self.seed = descent, seed
        self.position = Position()
        self.best: list[Tensor] = []
        self.is_whole = True
        self._shuffle = torch.Generator().manual_seed(seed)
        self._order, self._generators = self._shuffle.get_state(), self._find_generators()

    def batches(self, items: Sequence[Any], batch_size: int) -> Iterator[list[Any]]:
        """Yield the batches of the epoch under way that are not done yet."""
        self._order = self._shuffle.get_state()
        order = torch.randperm(len(items), generator=self._shuffle).tolist()
        for first in range(self.position.num_batches * batch_size, len(items), batch_size):
            yield [items[i] for i in order[first : first + batch_size]]

    def step(self, find_loss: Callable[[], float], num_tokens: int, run: RunDir) -> float:
        """Take one step, log it, and return its loss.

        Args:
            find_loss: returns a batch's loss and adds its gradient to the parameters'.
            num_tokens: of the batch, for its speed.

        Raises:
            RunError: the loss or its gradient is not finite; no step was taken.
        """
        start = time.perf_counter()
        self.descent.edit.redraw(self._draws_of_step())
        found = self.descent.find_gradient(find_loss)
        with self._changing():
            self.descent.move()
            speed = round(num_tokens / (time.perf_counter() - start), 1)
            run.append_line(HISTORY, {"epoch": self.position.epoch, **found, "tokens_per_second": speed})
            self.position.step += 1
            self.position.num_batches += 1
            self._generators = self._find_generators()
        return found["loss"]

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Change several parts together: a signal waits, and what is cut off all the same is known not to be whole."""
        with in_one_piece():
            self.is_whole = False
            yield
            self.is_whole = True

    def _draws_of_step(self) -> torch.Generator:
        """Return a generator that depends on the seed and the step alone: in all processes, and after a pause."""
        return torch.Generator().manual_seed((self.seed * 2**20 + self.position.step) % 2**63)

    def end_epoch(self) -> None:
        """Begin the next epoch."""
        with self._changing():
            self.position.epoch += 1
            self.position.num_batches = 0
            self._order = self._shuffle.get_state()

    def note_validation(self, found: dict[str, float], run: RunDir, keeps_best: bool) -> None:
        """Log what the validation split says; remember the parameters if it is the lowest loss so far."""
        lowest = math.inf if self.position.best_loss is None else self.position.best_loss
        with self._changing():
            run.append_line(VALIDATION, {"epoch": self.position.epoch, **found})
            self.position.num_validations += 1
            if keeps_best and found["loss"] < lowest:
                self.position.best_loss = found["loss"]
                self.best = [parameter.detach().clone() for parameter in self.descent.parameters]

    def take_best(self) -> None:
        """Give the parameters the values of the lowest validation loss, where these were kept."""
        for parameter, value in zip(self.descent.parameters, self.best, strict=bool(self.best)):
            parameter.data.copy_(value)

    def save(self, run: RunDir) -> None:
        """Write a checkpoint, and remove all but the newest ones; of several processes one does it for all."""
        if not is_leader():
            return
        run.sync()
        folder = run.path / CHECKPOINTS
        folder.mkdir(exist_ok=True)
        about = {"position": asdict(self.position), "schedule": self.descent.schedule.state_dict()}
        write_tensors(_file(folder, self.position.step), KIND, self._tensors(), about)
        for old in sorted(folder.glob("*.safetensors"))[:-NUM_KEPT]:
            remove(old)

    def resume(self, run: RunDir) -> None:
        """Go on from the newest checkpoint that can be read, where the run continues one; else from the beginning."""
        found = led(lambda: self._newest_checkpoint(run)) if run.continues else None
        if not found:
            return
        tensors, about = read_all_tensors(Path(found), KIND)
        self._restore(tensors, Position(**about["position"]), about["schedule"])
        # Of several processes only the leader's directory has the logs.
        cut_off = RunDir(Path(found).parents[1], run.stage, continues=True)
        for name, length in _lengths(self.position).items():
            run.continue_lines(name, cut_off.read_lines(name)[:length])
        say(f"going on after step {self.position.step}, from {os.path.relpath(found)}")

    def _newest_checkpoint(self, run: RunDir) -> str | None:
        """Return the newest checkpoint of this training whose steps are all in the logs; None where there is none."""
        for file in sorted((run.path / CHECKPOINTS).glob("*.safetensors"), reverse=True):
            try:
                tensors, about = read_all_tensors(file, KIND)
                position = Position(**about["position"])
                require_fit(tensors, about, self._tensors(), self.descent.schedule.state_dict())
            except (UserError, KeyError, TypeError):
                remove(file)
                continue
            logs = {name: run.read_lines(name)[:length] for name, length in _lengths(position).items()}
            is_whole = all(len(logs[name]) == length for name, length in _lengths(position).items())
            if is_whole and [line.get("step") for line in logs[HISTORY]] == list(range(1, position.step + 1)):
                return str(file.resolve())
        return None

    def _tensors(self) -> dict[str, Tensor]:
        tensors = {f"parameter.{i}": parameter.data for i, parameter in enumerate(self.descent.parameters)}
        tensors |= {f"best.{i}": value for i, value in enumerate(self.best)}
        for i, found in self.descent.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{i}.{name}": tensor for name, tensor in found.items()}
        return tensors | {"order": self._order} | {f"generator.{k}": state for k, state in self._generators.items()}

    def _restore(self, tensors: dict[str, Tensor], position: Position, schedule: dict[str, Any]) -> None:
        self.position, parameters = position, self.descent.parameters
        for i, parameter in enumerate(parameters):
            parameter.data.copy_(tensors[f"parameter.{i}"])
        if "best.0" in tensors:
            self.best = [tensors[f"best.{i}"].to(parameter.device) for i, parameter in enumerate(parameters)]
        self._restore_optimizer(tensors, schedule)
        self._shuffle.set_state(tensors["order"])
        for name, module in self._modules():
            module.set_rng_state(tensors[f"generator.{name}"])
        self._order, self._generators = self._shuffle.get_state(), self._find_generators()

    def _restore_optimizer(self, tensors: dict[str, Tensor], schedule: dict[str, Any]) -> None:
        optimizer, state = self.descent.optimizer, dict[int, dict[str, Tensor]]()
        for name, tensor in tensors.items():
            if name.startswith("optimizer."):
                _, number, part = name.split(".")
                state.setdefault(int(number), {})[part] = tensor
        groups = optimizer.state_dict()["param_groups"]
        rates = [{**group, "lr": rate} for group, rate in zip(groups, schedule["_last_lr"], strict=True)]
        optimizer.load_state_dict({"state": state, "param_groups": rates})
        self.descent.schedule.load_state_dict(schedule)

    def _find_generators(self) -> dict[str, Tensor]:
        """Return the states of the generators that dropout draws from."""
        return {name: module.get_rng_state() for name, module in self._modules()}

    def _modules(self) -> list[tuple[str, Any]]:
        device = self.descent.parameters[0].device.type if self.descent.parameters else "cpu"
        return [("cpu", torch)] + ([] if device == "cpu" else [("device", torch.get_device_module(device))])


def _file(folder: Path, step: int) -> Path:
    return folder / f"step-{step:09d}.safetensors"


def _lengths(position: Position) -> dict[str, int]:
    """Return how many lines the logs have when training stands there."""
    return {HISTORY: position.step, VALIDATION: position.num_validations}
