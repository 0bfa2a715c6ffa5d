"""Writing an export into a folder and proving it there, before anybody may take it for one."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lofit_cli.errors import RunError
from lofit_cli.exports.plan import Plan
from lofit_cli.exports.proof import Observed, Passage, Proof, difference, observe, proof_texts, prove, run_fresh
from lofit_cli.exports.vectors import layer_paths
from lofit_cli.interventions.intervention import Intervention
from lofit_cli.models.decoder import Decoder


@dataclass(frozen=True)
class Base:
    """Where transformers finds the base model: a folder or a Hub id, and its revision."""

    source: str
    revision: str | None = None


@dataclass(frozen=True)
class Written:
    """What is known of an export that has been proven.

    Attributes:
        dtype_difference: what weights in a coarser dtype change of a token's log-probability; None in float32.
        example: the first text with its tokens and their log-probabilities, for others to compare with.
    """

    proof: Proof
    dtype_difference: float | None
    example: dict[str, Any]


@dataclass(frozen=True)
class Seen:
    """What the base computes on the proof's texts, plain and edited, and where it did so."""

    texts: list[Passage]
    plain: Observed
    edited: Observed
    device: str


def observe_both(lm: Decoder, edit: Intervention) -> Seen:
    """Run the base plain and edited, and move both to the processor: there may be room for one model only."""
    texts, device = proof_texts(lm), str(lm.device)
    seen = Seen(texts, observe(lm, texts), observe(lm, texts, edit), device)
    nn.Module.to(lm.model, "cpu")
    edit.to("cpu")
    return seen


def write_and_prove(lm: Decoder, plan: Plan, seen: Seen, folder: Path, base: Base, dtype: str) -> Written:
    """Fill a folder with an export in float32, prove it, and cast its weights last.

    The model is of no use afterwards: an adapter may have been merged into it.

    Args:
        lm: the base in float32, on the processor, for which the plan was made.
        dtype: of the weights that stay in the folder.

    Raises:
        RunError: a fresh process does not compute the same.
    """
    plan.write(folder, torch.float32)
    job = {"base": base.source, "revision": base.revision, "layer_paths": layer_paths(lm), "kind": plan.kind}
    job |= {"device": seen.device, "dtype": "float32", "folder": str(folder)}
    fresh, found = run_fresh(job, seen.texts)
    _require_same_files(lm, plan, found)
    proof = prove(lm, seen.texts, seen.edited, seen.plain, fresh)
    rounded = None
    if dtype != "float32":
        rounded = difference(seen.edited, _cast(plan, folder, job | {"dtype": dtype}, seen.texts))
    return Written(proof, rounded, _example(lm, seen.texts[0], seen.edited))


def _require_same_files(lm: Decoder, plan: Plan, found: dict[str, Any]) -> None:
    """Refuse a folder of which stock transformers ignores a part, or whose tokenizer has become another one."""
    if found["problems"]:
        raise RunError(
            f"stock transformers leaves out or makes up {', '.join(found['problems'][:3])} of the export, so nothing "
            "was written; use another to=, or report this"
        )
    if plan.kind == "weights" and found["ids"] != [lm.tokenizer(string)["input_ids"] for string in found["strings"]]:
        raise RunError("the exported tokenizer makes other tokens than the base's, so nothing was written; report this")


def _cast(plan: Plan, folder: Path, job: dict[str, Any], texts: list[Passage]) -> Observed:
    """Put weights in a coarser dtype into the place of those that were proven; return what they compute."""
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    plan.write(folder, getattr(torch, job["dtype"]))
    return run_fresh(job, texts)[0]


def _example(lm: Decoder, text: Passage, edited: Observed) -> dict[str, Any]:
    return {
        "text": lm.tokenizer.decode(text.tokens),
        "tokens": text.tokens,
        "log_probs": [round(value, 6) for value in edited.log_probs[0].tolist()],
        "prompt_tokens": text.tokens[: text.start],
        "greedy_tokens": edited.greedy[0],
        "greedy_text": lm.tokenizer.decode(edited.greedy[0]),
    }
