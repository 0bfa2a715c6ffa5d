"""Choosing between interventions by the validation split."""

from collections.abc import Mapping
from typing import Any

from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.artifacts.seen_items import add_seen
from lofit_cli.interventions.intervention import Intervention
from lofit_cli.models.logprobs import LanguageModel
from lofit_cli.report.progress import progress_bar
from lofit_cli.schema import TrainOffsetsConfig
from lofit_cli.tasks.task import Task
from lofit_cli.training.measure import mean_metrics, measure_split


def keep_best(
    lm: LanguageModel,
    task: Task[Any],
    config: TrainOffsetsConfig,
    candidates: Mapping[float, Intervention],
    run: RunDir,
) -> Intervention:
    """Return the candidate with the best validation metrics, the headline first; `candidates.jsonl` lists them all.

    Args:
        candidates: alpha -> intervention. A single one is not measured.
    """
    found: dict[float, dict[str, float]] = {}
    if len(candidates) > 1:
        add_seen(run.path, (item.fingerprint for item in task.items("validation")))
        for alpha, edit in candidates.items():
            found[alpha] = _measure(lm, task, config, edit, f"validation, alpha {alpha:g}")
            run.append_line("candidates.jsonl", {"alpha": alpha, **found[alpha]})
    best = max(candidates, key=lambda alpha: tuple(found.get(alpha, {}).values()))
    run.record(alpha=best)
    return candidates[best]


def _measure(
    lm: LanguageModel, task: Task[Any], config: TrainOffsetsConfig, edit: Intervention, title: str
) -> dict[str, float]:
    num_items = len(task.items("validation"))
    with edit.to(lm.model.device).attach(lm), progress_bar(title, num_items) as advance:
        return mean_metrics(measure_split(lm, task, "validation", config.eval.protocol, advance))
