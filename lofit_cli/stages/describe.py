"""Say what an intervention changes on text that has nothing to do with its task, beside controls."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from torch import Tensor
from torch.nn.functional import cosine_similarity

import lofit_cli
from lofit_cli.analysis.grouping import tell_apart
from lofit_cli.artifacts.description import (
    CONTROL,
    FILE_NAME,
    NULL,
    RUN,
    Cosines,
    Described,
    Description,
    Descriptions,
    TextFacts,
)
from lofit_cli.artifacts.files import content_hash, write_json
from lofit_cli.artifacts.finished_runs import read_manifest
from lofit_cli.artifacts.manifest import TrainOffsetsManifest
from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.console import say
from lofit_cli.description.describe_edit import Basis, describe_edit
from lofit_cli.description.sources import find_texts, read_training_answers
from lofit_cli.description.texts import Texts, cut_texts
from lofit_cli.description.words import Words, find_common_words
from lofit_cli.errors import UserError
from lofit_cli.interventions.files import find_run, has_weights, load_intervention, settings_of_model
from lofit_cli.interventions.random_directions import draw_null
from lofit_cli.models.kept import load_model_once
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.models.memory import memory_explained
from lofit_cli.models.weights import describe_model
from lofit_cli.report.description.write import write_description
from lofit_cli.schema.stages import DescribeConfig

FORMAT = 1
FEW_TEXTS = 20
RANDOM = "random directions"
"""What tables call the null."""


class TrainedRun(NamedTuple):
    """A finished run of train-offsets."""

    folder: Path
    manifest: TrainOffsetsManifest


def describe(config: DescribeConfig, run: RunDir) -> Descriptions:
    """Describe a run and its controls on the same texts; print a table and write numbers, figures and a page.

    Raises:
        UserError: the runs are of different models, or the texts can't be read.
    """
    runs = _find_runs(config)
    folder, manifest = runs[0]
    source, texts = find_texts(config.text, config.num_texts, [made.manifest.task for made in runs])
    answers, note = _find_answers(folder, manifest)
    model = settings_of_model(folder, manifest, config.device)
    with memory_explained(model):
        lm = load_model_once(model)
        basis = _lay_basis(lm, cut_texts(lm, source, texts), None if note else answers, config)
        _record(run, runs, basis)
        rows, deltas = _describe_all(basis, runs)
    found = _gather(basis, rows, deltas, note)
    write_json(run.path / FILE_NAME, {"format": FORMAT, "lofit": lofit_cli.__version__, **asdict(found)})
    write_description(found, run.path)
    return found


def _find_runs(config: DescribeConfig) -> list[TrainedRun]:
    """Return the run that is asked about, then its controls, refusing those on another model."""
    folders = [find_run(config.intervention, Path(config.runs_dir)), *map(Path, config.controls)]
    keys = ["intervention", *("controls" for _ in config.controls)]
    runs = [
        TrainedRun(folder, read_manifest(folder, TrainOffsetsManifest, key))
        for folder, key in zip(folders, keys, strict=True)
    ]
    for control in runs[1:]:
        _require_same_model(*control, *runs[0])
    return runs


def _require_same_model(
    folder: Path, manifest: TrainOffsetsManifest, first: Path, expected: TrainOffsetsManifest
) -> None:
    """Refuse a control on another model."""
    is_same = has_weights(manifest, expected.model, expected.model_hash, expected.dtype)
    if not is_same or (manifest.quantization or "none") != (expected.quantization or "none"):
        raise UserError(
            f"controls={folder} was trained on model '{manifest.model}' and intervention={first} on "
            f"'{expected.model}', whose weights are not the same; name runs of one model"
        )


def _find_answers(folder: Path, manifest: TrainOffsetsManifest) -> tuple[list[str], str]:
    """Return what a run was trained to answer, or nothing and why that is not known."""
    try:
        return read_training_answers(manifest), ""
    except UserError as error:
        note = f"the training answers of {folder} are not known: {error}"
        say(f"note: {note}")
        return [], note


def _lay_basis(lm: LanguageModel, texts: Texts, answers: list[str] | None, config: DescribeConfig) -> Basis:
    """Return what all edits are read by; the layer is the middle one unless another is set.

    Source: the activation difference lens (arXiv 2510.13900), for the layer.
    """
    num_layers = len(lm.layers)
    _require_places(lm, config)
    if len(texts.texts) < FEW_TEXTS:
        say(
            f"note: means over {len(texts.texts)} texts say much about these texts themselves; give {FEW_TEXTS} or more"
        )
    words = None if answers is None else Words(lm.tokenizer, find_common_words(lm, answers, texts.tokens))
    return Basis(lm, texts, words, num_layers // 2 if config.layer is None else config.layer, config)


def _require_places(lm: LanguageModel, config: DescribeConfig) -> None:
    """Refuse a layer, or more tokens, than the model has."""
    num_layers, vocabulary = len(lm.layers), int(lm.model.config.get_text_config(decoder=True).vocab_size)
    if config.layer is not None and config.layer >= num_layers:
        raise UserError(f"layer={config.layer} is not allowed: model '{lm.id}' has layers 0 to {num_layers - 1}")
    if config.top_k > vocabulary:
        raise UserError(f"top_k={config.top_k} is not allowed: model '{lm.id}' has {vocabulary} tokens; give 1 to that")


def _record(run: RunDir, runs: Sequence[TrainedRun], basis: Basis) -> None:
    (folder, manifest), controls = runs[0], [str(control.folder) for control in runs[1:]]
    model = describe_model(basis.lm)
    run.record(model=model["model"], model_hash=model["model_hash"], method=manifest.method, task=manifest.task)
    run.record(intervention=str(folder), controls=controls, layer=basis.layer)
    run.record(text=basis.texts.source, text_hash=content_hash(basis.texts.texts))


def _describe_all(basis: Basis, runs: Sequence[TrainedRun]) -> tuple[list[Description], list[Tensor]]:
    """Describe one edit after the other, the null last; no trained edit is kept while the next is there."""
    labels = tell_apart([f"{made.method}, {made.task}, seed {made.seed}" for _, made in runs])
    null, described = None, list[tuple[Description, Tensor]]()
    for number, ((folder, made), label) in enumerate(zip(runs, labels, strict=True)):
        edit, _ = load_intervention(folder, basis.lm)
        about = Described(label, CONTROL if number else RUN, str(folder), made.method, made.task, made.seed)
        described.append(describe_edit(basis, edit, about))
        null = null if number else draw_null(edit, basis.config.seed)
        del edit
    if null is not None:
        folder, made = runs[0]
        about = Described(RANDOM, NULL, str(folder), made.method, made.task, basis.config.seed)
        described.append(describe_edit(basis, null, about))
    rows, deltas = zip(*described, strict=True)
    return list(rows), list(deltas)


def _gather(basis: Basis, rows: list[Description], deltas: Sequence[Tensor], note: str) -> Descriptions:
    texts, config = basis.texts, basis.config
    facts = TextFacts(
        source=texts.source,
        text_hash=content_hash(texts.texts),
        num_texts=len(texts.texts),
        num_continued=min(config.num_continued, len(texts.texts)),
        num_tokens=sum(map(len, texts.tokens)),
    )
    return Descriptions(
        model=basis.lm.id,
        layer=basis.layer,
        positions=config.positions,
        texts=facts,
        max_new_tokens=config.max_new_tokens,
        top_k=config.top_k,
        seed=config.seed,
        rows=rows,
        cosines=_cosines([delta[config.positions].mean(dim=0) for delta in deltas]),
        cosines_by_position=[_cosines(alike) for alike in zip(*deltas, strict=True)],
        num_over_represented=len(basis.words.common) if basis.words else 0,
        note=note,
    )


def _cosines(deltas: Sequence[Tensor]) -> Cosines:
    """Return the cosine of each difference to each; None where one of both is 0."""
    return [[_cosine(first, second) for second in deltas] for first in deltas]


def _cosine(first: Tensor, second: Tensor) -> float | None:
    if not (first.any() and second.any()):
        return None
    return float(cosine_similarity(first.double(), second.double(), dim=0))
