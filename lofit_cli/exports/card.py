"""The model card of an export: what it is, how far it is from the edited model, and what engines make of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import ModelCard, ModelCardData, try_to_load_from_cache

from lofit_cli.artifacts.manifest import TrainOffsetsManifest
from lofit_cli.exports.engines import describe_engines
from lofit_cli.exports.plan import Plan
from lofit_cli.exports.proof import Proof
from lofit_cli.models.weights import name_of

README = "README.md"
BAR = "&#124;"
"""A `|` that ends no cell of a table in Markdown."""
USES = {
    "weights": "from transformers import AutoModelForCausalLM\n\nmodel = AutoModelForCausalLM.from_pretrained(FOLDER)",
    "adapter": (
        "from peft import PeftModel\nfrom transformers import AutoModelForCausalLM\n\n"
        "model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(BASE), FOLDER)"
    ),
    "vectors": "from safetensors.torch import load_file\n\nvectors = load_file('FOLDER/vector.safetensors')",
    "control_vector": "llama-cli -m MODEL.gguf --control-vector FOLDER/control_vector.gguf",
}
"""How an export is loaded, by the kind of `load_and_run`."""


@dataclass(frozen=True)
class Exported:
    """What there is to say of an export.

    Attributes:
        source: the base model's folder, or its Hub id.
        positions: where the edit acts, `all` or `answer`.
        dtype_difference: what weights in a coarser dtype than float32 change of a token's log-probability, in nats.
        metrics: rows of a table: split and protocol, metric, the edited model's value, the base's.
    """

    plan: Plan
    manifest: TrainOffsetsManifest
    source: str
    num_layers: int
    positions: str
    dtype: str
    proof: Proof
    dtype_difference: float | None
    metrics: list[tuple[str, str, str, str]]


def write_card(folder: Path, about: Exported) -> None:
    """Write the model card, with metadata as the Hub reads it."""
    is_folder = Path(about.source).is_dir()
    licence = base_licence(about.source)
    data = ModelCardData(
        base_model=None if is_folder else about.source,
        license=licence,
        library_name={"weights": "transformers", "adapter": "peft"}.get(about.plan.kind),
        tags=["lofit", about.manifest.method],
    )
    text = "\n\n".join(_paragraphs(about, licence))
    metadata = data.to_yaml().strip()
    (folder / README).write_text(f"---\n{metadata}\n---\n\n{text}\n", encoding="utf-8")


def base_licence(source: str) -> str | None:
    """Return the licence that the base's own card states, where that card is on this machine."""
    file = Path(source) / README if Path(source).is_dir() else try_to_load_from_cache(source, README)
    try:
        found = ModelCard.load(Path(file)).data.license if isinstance(file, str | Path) else None
    except (OSError, ValueError, yaml.YAMLError):
        return None
    return found if isinstance(found, str) else None


def _paragraphs(about: Exported, licence: str | None) -> list[str]:
    manifest, name = about.manifest, name_of(about.manifest.model)
    return [
        f"# {name}, edited by {manifest.method}",
        f"This is `{name}` with an edit that [lofit](https://arxiv.org/abs/2406.01563) made on the task "
        f"{manifest.task}, as {about.plan.words}.",
        "\n".join(_facts(about, licence)),
        "```\n" + USES[about.plan.kind] + "\n```",
        _measured(about),
        *results_table(about.metrics),
        "## Engines",
        "\n".join(f"- {line}" for line in engine_lines(about)),
    ]


def _facts(about: Exported, licence: str | None) -> list[str]:
    manifest = about.manifest
    heads = f"- Edited heads: {manifest.num_heads}" if manifest.num_heads else "- Edited heads: none were selected"
    return [
        f"- Method: {manifest.method}",
        heads,
        f"- Trainable parameters: {manifest.num_trained_parameters:,}",
        f"- Trained on: {manifest.task}, seed {manifest.seed}, fold {manifest.fold}, in {manifest.dtype}",
        f"- Asked: {'in turns, by its chat template' if manifest.uses_chat_template else 'as plain text'}",
        f"- Base model: {name_of(manifest.model)} ({about.num_layers} layers)",
        f"- Acts at: {'every token' if about.positions == 'all' else 'answer tokens only'}",
        f"- Weights here are in: {about.dtype}",
        f"- Licence: {licence or 'see the base model'}",
    ]


def _measured(about: Exported) -> str:
    proof = about.proof
    words = (
        "## Proof\n\nA fresh process loaded this folder without lofit and was compared with the edited base, in "
        f"float32: a token's log-probability differs by at most {proof.largest_difference:.2g} nats over "
        f"{proof.num_tokens} tokens, and greedy answers are the same. The edit itself moves it by up to "
        f"{proof.effect:.2g} nats."
    )
    if about.dtype_difference is not None:
        words += f" As written, in {about.dtype}, it differs by up to {about.dtype_difference:.2g} nats."
    return words


def results_table(rows: list[tuple[str, str, str, str]]) -> list[str]:
    """Return a heading and a table in Markdown; nothing without rows."""
    if not rows:
        return []
    lines = [
        "| measured on | metric | edited | base |",
        "|---|---|---|---|",
        *(f"| {' | '.join(cell.replace('|', BAR) for cell in row)} |" for row in rows),
    ]
    return ["## Results", "\n".join(lines)]


def engine_lines(about: Exported) -> list[str]:
    """Return what engines make of the export, a sentence each."""
    if about.plan.model_type is not None:
        return describe_engines(about.plan.model_type, about.plan.new_biases)
    return {
        "adapter": [
            "The peft library loads it from version 0.14 on; with biases it is merged into a base with biases only.",
            "vLLM refuses adapters with lora_bias and SGLang has none: export to=hf for them.",
        ],
        "vectors": ["No engine loads these vectors by itself; they are for hooks of your own."],
        "control_vector": ["llama.cpp loads it with --control-vector; this was not run here."],
    }[about.plan.kind]


def card_facts(about: Exported) -> dict[str, Any]:
    """Return what the proof's file says, as JSON holds it."""
    return {
        "form": about.plan.words,
        "model_type": about.plan.model_type,
        "new_biases": sorted(about.plan.new_biases),
        "method": about.manifest.method,
        "base_model": name_of(about.manifest.model),
        "dtype": about.dtype,
        "proof": about.proof.facts(),
        "dtype_difference": about.dtype_difference,
    }
