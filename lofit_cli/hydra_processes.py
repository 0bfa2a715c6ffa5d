"""A stage that torchrun or accelerate launch has started in several processes, of which one writes."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from omegaconf import DictConfig

from lofit_cli.errors import UserError
from lofit_cli.hydra_overrides import quote
from lofit_cli.processes import is_leader, num_processes


@contextmanager
def own_place() -> Iterator[list[str]]:
    """Yield the overrides that let a process that does not lead write where nobody looks, and nothing is kept."""
    if is_leader():
        yield []
        return
    with tempfile.TemporaryDirectory(prefix="lofit-") as folder:
        place = quote(folder)
        yield [f"hydra.run.dir={place}", f"hydra.sweep.dir={place}", "hydra.sweep.subdir='${hydra.job.num}'"]


def require_own_launcher(configs: Sequence[DictConfig]) -> None:
    """Refuse a launcher that would start processes of its own from each of several.

    Raises:
        UserError: there is one.
    """
    target = str(configs[0].hydra.launcher.get("_target_", ""))
    if num_processes() > 1 and not target.startswith("hydra._internal."):
        raise UserError(
            f"hydra/launcher={target.rpartition('.')[2]} starts processes of its own; leave it out under torchrun or "
            "accelerate launch, or start lofit without these"
        )
