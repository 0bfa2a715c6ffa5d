"""Choosing between interventions by the validation split."""

from collections.abc import Callable, Mapping
from itertools import product, starmap
from typing import Any, NamedTuple

from lofit_cli.artifacts.predictions import merit
from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.artifacts.seen_items import add_seen
from lofit_cli.console import progress_bar
from lofit_cli.errors import RunError, UserError
from lofit_cli.evaluation.measure import mean_metrics, measure_split
from lofit_cli.interventions.intervention import Intervention
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.schema.fitted_methods import ResidualConfig
from lofit_cli.schema.stages import TrainOffsetsConfig
from lofit_cli.tasks.task import Task

MAX_ITEMS = 100
"""How many validation items the candidates are measured on: enough to tell strengths apart, few enough to try many."""

MIDDLE_EIGHTHS = range(2, 7)
"""Where steering is usually strongest; CAA and RepE both choose the layer by trying."""


Measure = Callable[[LanguageModel, Task[Any], str, str], dict[str, float]]
"""Takes a model with an edit, a task, a split and a protocol, and returns numbers, the most important first."""


class Candidate(NamedTuple):
    """What is chosen: a strength and, where it acts in one layer, the layer."""

    alpha: float | None = None
    layer: int | None = None


def layers_and_alphas(settings: ResidualConfig, lm: LanguageModel) -> list[tuple[int, float]]:
    """Return each layer to try with each strength."""
    num_layers = lm.geometry.num_layers
    layers = settings.layers or sorted({num_layers * eighths // 8 for eighths in MIDDLE_EIGHTHS})
    if max(layers) >= num_layers:
        raise UserError(f"method.layers={layers} are not all there; allowed: 0 to {num_layers - 1}")
    return list(product(layers, settings.alphas))


def keep_best(
    lm: LanguageModel,
    task: Task[Any],
    config: TrainOffsetsConfig,
    candidates: Mapping[Candidate, Intervention],
    run: RunDir,
    measure: Measure | None = None,
) -> Intervention:
    """Return the candidate with the best validation metrics, the headline first; `candidates.jsonl` lists them all.

    A single candidate is not measured.

    Args:
        measure: what is compared in place of the metrics, the larger the better.

    Raises:
        RunError: under each of them a log-probability is not finite, or the single one holds such numbers.
    """
    found: dict[Candidate, dict[str, float]] = {}
    if len(candidates) > 1:
        few = task.with_items({"validation": task.items("validation")[:MAX_ITEMS]})
        run.record_settings(chosen={"protocol": task.protocol(config.eval.protocol, "validation")})
        add_seen(run.path, (item.fingerprint for item in few.items("validation")))
        with progress_bar("choosing on validation", len(candidates)) as advance:
            for candidate, edit in candidates.items():
                found[candidate] = _measure(lm, few, config, edit, measure or _metrics)
                run.append_line("candidates.jsonl", {**candidate._asdict(), **found[candidate]})
                advance(1)
        if not any(found.values()):
            alphas = list(dict.fromkeys(candidate.alpha for candidate in candidates))
            raise RunError(
                f"method.alphas={alphas}: each gives log-probabilities that are not finite; give smaller ones"
            )
    best = max(candidates, key=lambda candidate: tuple(starmap(merit, found.get(candidate, {}).items())))
    if not all(bool(values.isfinite().all()) for values in candidates[best].parameters()):
        raise RunError(f"method.alphas=[{best.alpha}] makes numbers that are not finite; give a smaller one")
    run.record(**best._asdict())
    return candidates[best]


def _metrics(lm: LanguageModel, task: Task[Any], split: str, protocol: str) -> dict[str, float]:
    return mean_metrics(measure_split(lm, task, split, protocol))


def _measure(
    lm: LanguageModel, task: Task[Any], config: TrainOffsetsConfig, edit: Intervention, measure: Measure
) -> dict[str, float]:
    """Return the validation metrics, none where the edit is so strong that a log-probability is not finite."""
    with edit.placed(lm).attach(lm):
        try:
            return measure(lm, task, "validation", config.eval.protocol)
        except RunError:
            return {}
