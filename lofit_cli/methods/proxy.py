"""Proxy-tuning: another run's edit of a small model steers a large one; nothing is learnt."""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from torch import Tensor

from lofit_cli.artifacts.finished_runs import read_manifest
from lofit_cli.artifacts.manifest import TrainOffsetsManifest
from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.artifacts.seen_items import inherit_seen
from lofit_cli.errors import UserError
from lofit_cli.interventions.files import load_intervention, settings_of_model
from lofit_cli.interventions.intervention import Intervention
from lofit_cli.interventions.proxy_edit import ProxyEdit, require_proxy, why_no_expert
from lofit_cli.methods.grid_search import Candidate, keep_best
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.models.load import load_other
from lofit_cli.schema.fitted_methods import ProxyConfig
from lofit_cli.schema.stages import TrainOffsetsConfig
from lofit_cli.tasks.task import Task


def make_proxy(
    lm: LanguageModel, task: Task[Any], config: TrainOffsetsConfig, head_mask: Tensor, run: RunDir
) -> Intervention:
    """Return the edit of the run that `method.source` names, acting through the logits of the model it was made for.

    Raises:
        UserError: that model has other tokens, or what the run made stands before the texts, or is a proxy itself.
    """
    settings = cast(ProxyConfig, config.method)
    source = Path(settings.source)
    manifest = read_manifest(source, TrainOffsetsManifest, "method.source")
    # It has the same weights whole as in parts.
    model = replace(settings_of_model(source, manifest, None), device=config.model.device, tp=None)
    proxy = None if model.shaping() == config.model.shaping() else load_other(model)
    expert, _ = load_intervention(source, proxy or lm, "method.source")
    if reason := why_no_expert(expert, proxy or lm):
        raise UserError(f"method.source={source} is a run of {manifest.method}, which {reason}; name another run")
    require_proxy(lm, proxy or lm)
    run.record(selector=manifest.selector, num_heads=manifest.num_heads, selection_seed=manifest.selection_seed)
    run.record(source_seed=manifest.seed)
    run.record_settings(source={**manifest.made_by, "model": manifest.model, "method": manifest.method})
    inherit_seen(run, source, manifest)
    candidates = {Candidate(alpha): ProxyEdit(expert, proxy, model, alpha) for alpha in settings.alphas}
    return keep_best(lm, task, config, candidates, run)
