"""Stage 5: take an intervention out of the lab, in a form that other programs load, and prove that it is the same."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from transformers import AutoConfig

import lofit_cli
from lofit_cli.artifacts.files import remove_partial_folders, write_folder, write_json
from lofit_cli.artifacts.finished_runs import read_manifest
from lofit_cli.artifacts.locks import locked
from lofit_cli.artifacts.manifest import TrainOffsetsManifest
from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.console import say
from lofit_cli.errors import RunError, UserError
from lofit_cli.exports.card import Exported, card_facts, engine_lines, write_card
from lofit_cli.exports.measured import measured_metrics
from lofit_cli.exports.plan import Plan
from lofit_cli.exports.proof import Proof
from lofit_cli.exports.targets import plan_export
from lofit_cli.exports.write import Base, observe_both, write_and_prove
from lofit_cli.interventions.files import find_run, load_intervention, settings_of_model
from lofit_cli.interventions.intervention import Intervention
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.models.load import check_source, load_model
from lofit_cli.models.memory import memory_explained
from lofit_cli.models.weights import describe_model
from lofit_cli.schema.sources import DTYPES, ModelConfig
from lofit_cli.schema.stages import ExportConfig

PROOF = "lofit_export.json"
FORMAT = 1
CONVERTER = "python convert_hf_to_gguf.py {out} --outtype f32 --outfile {out}.gguf"
"""The one command, in a checkout of llama.cpp, that makes a GGUF file of a checkpoint."""
WHOLE = "float32"


def export(config: ExportConfig, run: RunDir) -> Proof:
    """Write an intervention in a form that others load, once a fresh process has computed the same with it.

    Raises:
        UserError: the intervention can't be exported exactly in this form, or `out` is taken.
        RunError: what was written does not compute what the edited base computes; it is removed.
    """
    _require_free(Path(config.out))
    config = replace(config, intervention=str(find_run(config.intervention, Path(config.runs_dir))))
    manifest = read_manifest(Path(config.intervention), TrainOffsetsManifest, "intervention")
    model = _model_config(manifest, config)
    base = Base(check_source(model.id, "model.id"), model.revision)
    dtype = _written_dtype(config, model, base)
    with memory_explained(model):
        lm = load_model(model)
        edit, _ = load_intervention(config.intervention, lm)
        plan = _plan(lm, edit, config)
        run.record(**{key: value for key, value in describe_model(lm).items() if key in ("model", "model_hash")})
        about = _write(lm, edit, config, manifest, base, dtype if plan.kind == "weights" else WHOLE)
    proof = about.proof
    run.record(method=manifest.method, intervention=config.intervention, to=config.to, out=config.out)
    run.record(form=plan.words, dtype=about.dtype, largest_difference=proof.largest_difference, effect=proof.effect)
    run.record(dtype_difference=about.dtype_difference)
    _show(about, config)
    return proof


def _require_free(out: Path) -> None:
    """Refuse a folder that holds something; nothing of anybody's is ever overwritten."""
    if out.is_dir() and not any(out.iterdir()):
        return
    if out.exists():
        raise UserError(f"out={out} is there already; name a folder that does not exist, or an empty one")
    if out.is_symlink():
        raise UserError(f"out={out} is a link to {out.readlink()}, which is not there; name a folder")
    if above := next((parent for parent in out.parents if parent.exists() and not parent.is_dir()), None):
        raise UserError(f"out={out} lies in {above}, which is a file; name another folder")


def _model_config(manifest: TrainOffsetsManifest, config: ExportConfig) -> ModelConfig:
    """Return the base model as the run asked for it, in float32, in which the proof is made."""
    asked = settings_of_model(config.intervention, manifest, config.device)
    return replace(asked, dtype=WHOLE, device_map=None)


def _written_dtype(config: ExportConfig, model: ModelConfig, base: Base) -> str:
    """Return the dtype of the weights that are written, refusing bases that are quantised."""
    try:
        stated = AutoConfig.from_pretrained(base.source, revision=base.revision or "main", trust_remote_code=False)
    except (OSError, ValueError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise RunError(f"model.id={model.id} could not be read ({reason}); the base of the intervention must be there")
    if model.quantization or getattr(stated, "quantization_config", None) is not None:
        how = f" to {model.quantization} in this run" if model.quantization else ""
        raise UserError(
            f"the base model '{model.id}' is quantised{how}, and an edit can't be put into its weights exactly; train "
            "the intervention on the model that it was quantised from"
        )
    if config.to in ("peft", "vector"):
        if config.dtype not in ("auto", WHOLE):
            raise UserError(f"dtype={config.dtype} is for weights (to=hf or gguf); to={config.to} is in float32")
        return WHOLE
    own = str(stated.dtype or stated.get_text_config(decoder=True).dtype or WHOLE).removeprefix("torch.")
    return (own if own in DTYPES else WHOLE) if config.dtype == "auto" else config.dtype


def _plan(lm: LanguageModel, edit: Intervention, config: ExportConfig) -> Plan:
    try:
        return plan_export(lm, edit, config.to)
    except UserError as error:
        raise UserError(f"intervention={config.intervention} can't be exported with to={config.to}: {error}")


def _write(
    lm: LanguageModel,
    edit: Intervention,
    config: ExportConfig,
    manifest: TrainOffsetsManifest,
    base: Base,
    dtype: str,
) -> Exported:
    """Write the folder under another name, prove it there, and give it its own name."""
    found = list[Exported]()
    # An adapter may be merged into the model later on: what is said of it is taken as it is now.
    known = partial(
        Exported,
        manifest=manifest,
        source=base.source if Path(base.source).is_dir() else manifest.model,
        num_layers=lm.geometry.num_layers,
        positions=getattr(edit, "positions", "all"),
        dtype=dtype,
        metrics=measured_metrics(Path(config.runs_dir), Path(config.intervention), manifest),
    )

    def fill(folder: Path) -> None:
        seen = observe_both(lm, edit)
        plan = _plan(lm, edit, config)
        written = write_and_prove(lm, plan, seen, folder, base, dtype)
        found.append(known(plan=plan, proof=written.proof, dtype_difference=written.dtype_difference))
        _describe(found[0], written.example, folder, config)

    _write_once(fill, config)
    return found[0]


def _describe(about: Exported, example: dict[str, Any], folder: Path, config: ExportConfig) -> None:
    """Write what is known of an export beside it, for programs and for people."""
    facts = {"format": FORMAT, "lofit": lofit_cli.__version__, "to": config.to, **card_facts(about)}
    write_json(folder / PROOF, {**facts, "example": example})
    write_card(folder, about)


def _write_once(fill: Callable[[Path], None], config: ExportConfig) -> None:
    """Fill `out` under another name and give it its own, unless another process has meanwhile.

    Raises:
        UserError: another process is at it.
        RunError: another one was faster.
    """
    out = Path(config.out).resolve()
    out.parent.mkdir(parents=True, exist_ok=True)
    busy = f"out={config.out} is being written by another process; wait for it or name another folder"
    with locked(out.with_name(f".{out.name}.lock"), busy, keep=False):
        remove_partial_folders(out)
        write_folder(out, fill)
    if not (out / PROOF).exists():
        raise RunError(f"out={config.out} was filled by another process meanwhile; export again, to another folder")


def _show(about: Exported, config: ExportConfig) -> None:
    """Say what was written, how near it is, and what engines make of it."""
    proof = about.proof
    say(f"{config.out}: {about.plan.words}, in {about.dtype}")
    say(
        f"a fresh process differs from the edited model by {proof.largest_difference:.2g} nats on a token (at most "
        f"{proof.tolerance:g} is allowed); the edit itself moves it by {proof.effect:.2g}"
    )
    if about.dtype_difference is not None:
        say(f"as written, in {about.dtype}, it differs by {about.dtype_difference:.2g} nats")
    for line in engine_lines(about):
        say(line)
    if config.to == "gguf" and about.plan.kind == "weights":
        say(f"in a checkout of llama.cpp: {CONVERTER.format(out=config.out)}")
