"""What lofit makes of every causal architecture of transformers; writes docs/architectures.md.

python scripts/architectures.py                                     all of them, in a few minutes on two cores
python scripts/architectures.py --only llama,jamba --keep FOLDER    some of them, printed; checkpoints and logs stay

Each architecture has a process of its own and a time limit. Its checkpoint is the family's default config, shrunk by
the rules of tests/helpers/tiny_checkpoints.py, with random weights and every kind of layer. It is "right" if, against
a second copy that transformers runs in the plainest way (one sequence a forward pass, no cache, no mask, no padding):
- each answer token has the log-probability that the last place of a forward pass over the tokens before it gives;
- sequences that begin alike, which lofit may compute once, are scored the same;
- an edit that changes nothing leaves every score bit-identical;
- a scale and an offset on some heads give what a hook of ours gives on the module of that name in the copy;
- greedy answers to prompts of different lengths are those of `model.generate` to each prompt alone.
Anything else is refused in one sentence, or a fault.
"""

import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
import transformers
import typer
from transformers import AutoModelForCausalLM, PreTrainedModel

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "helpers"))

from plain_transformers import edited, greedy_line, next_token_logprobs, random_edit
from tiny_checkpoints import ARCHITECTURES, build_checkpoint

from lofit_cli.errors import RunError, UserError
from lofit_cli.interventions.head_edit import HeadEdit
from lofit_cli.models.generation import generate_lines
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.models.load import load_model
from lofit_cli.models.logprobs import answer_logprobs, score_answers, tokenize_items
from lofit_cli.models.packing import TokenSequence, group_rows
from lofit_cli.schema.sources import ModelConfig

PAGE = Path(__file__).resolve().parents[1] / "docs" / "architectures.md"
SECONDS, CPU_SECONDS = 900, 120
TOLERANCE = 1e-3
"""Nats a token by which float32 may round; a wrong mask or position moves these models by 0.1 and more."""
MOVED = 0.01
"""Nats by which an edit of random numbers has to move some token."""
NUM_EDITED = 3
NEW_TOKENS = 8
ROW_TOKENS = 256

BEGINNING = "the answer to the number of the question "
ITEMS = [
    (BEGINNING + "where the sun is at noon, and why. A:", [" No one can say", " No", " up there, the sky"]),
    (BEGINNING + "two. A:", [" yes", " it is the other, the number 3"]),
    ("Why? A:", [" so", " the answer is the number the answer"]),
]
VERDICTS = {
    "right": "right",
    "refused": "refused in one sentence",
    "wrong": "WRONG",
    "traceback": "TRACEBACK",
    "not built": "not built: transformers itself can't make such a model here",
}


@dataclass(frozen=True)
class Row:
    """One architecture, and what lofit makes of it."""

    architecture: str
    verdict: str
    remark: str = ""
    layers: str = ""
    heads: str = ""
    projection: str = ""
    batching: str = ""


def check(architecture: str, folder: Path) -> Row:
    """Build a checkpoint, load it, and compare what lofit computes with what transformers computes."""
    row = Row(architecture, "right")
    try:
        build_checkpoint(architecture, folder)
    except Exception as error:  # whatever a library may raise
        return replace(row, verdict="not built", remark=_first_line(error))
    try:
        lm = load_model(ModelConfig(id=str(folder), device="cpu"))
        row = replace(row, **_describe(lm))
        wrong = _compare(lm, AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval())
        return replace(row, verdict="wrong", remark="; ".join(wrong)) if wrong else row
    except (UserError, RunError) as error:
        return replace(row, verdict="refused", remark=str(error).replace(str(folder), architecture))
    except Exception as error:
        traceback.print_exc()
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(place.filename).name}:{place.lineno}"
        return replace(row, verdict="traceback", remark=f"{type(error).__name__} at {where}: {_first_line(error)}")


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _describe(lm: LanguageModel) -> dict[str, str]:
    geometry, names = lm.geometry, {id(module): name for name, module in lm.model.named_modules()}
    kinds = sorted({kind for kind in zip(geometry.heads_per_layer, geometry.head_dims, strict=True) if kind[0]})
    return {
        "layers": f"{len(lm.output_projections)} of {geometry.num_layers}",
        "heads": ", ".join(f"{num_heads} of {head_dim}" for num_heads, head_dim in kinds),
        "projection": names[id(next(iter(lm.output_projections.values())))],
        "batching": lm.batching,
    }


def _compare(lm: LanguageModel, plain: PreTrainedModel) -> list[str]:
    """Return what differs, a phrase each."""
    sequences = [sequence for item in tokenize_items(lm, ITEMS) for sequence in item]
    edit = random_edit(lm.geometry, NUM_EDITED)
    wrong, before = _check_scores(lm, plain, sequences), next_token_logprobs(plain, sequences[0])
    with torch.inference_mode(), edit.attach(lm), edited(lm, plain, edit):
        wrong += [f"{what} under an edit" for what in _check_scores(lm, plain, sequences)]
        moved = float((next_token_logprobs(plain, sequences[0]) - before).abs().max())
    wrong += [] if moved > MOVED else [f"the edit moves nothing ({moved:.1g} nats)"]
    return wrong + _check_zero_edit(lm, sequences) + _check_generation(lm, plain)


def _check_scores(lm: LanguageModel, plain: PreTrainedModel, sequences: list[TokenSequence]) -> list[str]:
    wanted = [next_token_logprobs(plain, sequence) for sequence in sequences]
    nested = [TokenSequence(s.tokens[: end + 1], end) for s in sequences for end in range(s.start, len(s.tokens))]
    with torch.inference_mode():
        rows = [
            [sequence for item in row for sequence in item] for row in group_rows(([s] for s in nested), ROW_TOKENS)
        ]
        tokens = torch.cat([answer_logprobs(lm, row) for row in rows])
    sums = torch.tensor([score for item in score_answers(lm, ITEMS) for score in item])
    off = {
        "a token": float((tokens - torch.cat(wanted)).abs().max()),
        "an answer, by token": max(float(abs(a - b.sum())) / len(b) for a, b in zip(sums, wanted, strict=True)),
    }
    return [f"{what} is off by {nats:.2g} nats" for what, nats in off.items() if not nats <= TOLERANCE]


def _check_zero_edit(lm: LanguageModel, sequences: list[TokenSequence]) -> list[str]:
    zeros = torch.zeros(lm.geometry.total_heads, lm.geometry.head_dim)
    with torch.inference_mode():
        before = answer_logprobs(lm, sequences)
        with HeadEdit(lm.geometry, lm.geometry.every_head(), zeros, zeros.clone()).attach(lm):
            after = answer_logprobs(lm, sequences)
    return [] if torch.equal(before, after) else ["an edit of zeros changes scores"]


def _check_generation(lm: LanguageModel, plain: PreTrainedModel) -> list[str]:
    prompts = [prompt for prompt, _ in ITEMS]
    found = generate_lines(lm, prompts, NEW_TOKENS)
    wanted = [greedy_line(lm, plain, prompt, NEW_TOKENS) for prompt in prompts]
    return [] if found == wanted else [f"generates {found}, transformers {wanted}"]


def _work(architecture: str, folder: Path) -> None:
    """Check one architecture and leave its row beside its checkpoint."""
    log = os.open(folder / "log.txt", os.O_CREAT | os.O_WRONLY)
    os.dup2(log, 1)
    os.dup2(log, 2)
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    row = check(architecture, folder / "model")
    (folder / "row.json").write_text(json.dumps(asdict(row)))


def _row_of(process: BaseProcess, architecture: str, folder: Path) -> Row:
    file = folder / "row.json"
    if file.exists():
        return Row(**json.loads(file.read_text()))
    ended = f"ended with code {process.exitcode}" if process.exitcode is not None else "took too long"
    return Row(architecture, "traceback", f"its process {ended}")


def run_all(architectures: list[str], work: Path, num_processes: int) -> list[Row]:
    """Check every architecture in a process of its own, a few at a time."""
    forks = multiprocessing.get_context("fork")  # transformers is imported once, by the parent
    waiting, running, rows = list(reversed(architectures)), {}, []
    while waiting or running:
        while waiting and len(running) < num_processes:
            name = waiting.pop()
            (work / name).mkdir(parents=True)
            process = forks.Process(target=_work, args=(name, work / name))
            process.start()
            running[name] = (process, time.monotonic())
        wait([process.sentinel for process, _ in running.values()], timeout=1)
        for name, (process, began) in list(running.items()):
            if process.exitcode is None and time.monotonic() - began < SECONDS:
                continue
            rows.append(_row_of(process, name, work / name))
            process.kill()
            del running[name]
            print(f"{rows[-1].architecture}: {rows[-1].verdict} {rows[-1].batching} {rows[-1].remark}", flush=True)
    return sorted(rows, key=lambda row: row.architecture)


def page(rows: list[Row]) -> str:
    """Return the table in Markdown, counts first."""
    counts = Counter(row.verdict for row in rows)
    batching = Counter(row.batching for row in rows if row.verdict == "right")
    lines = [
        "# Architectures",
        "",
        f"All {len(rows)} causal architectures of transformers {transformers.__version__}, as tiny random checkpoints, "
        "made and checked by `python scripts/architectures.py`, whose first lines say what is compared with what.",
        "",
        *(f"- {counts[verdict]} {words}" for verdict, words in VERDICTS.items() if counts[verdict]),
        "",
        "Of those that are right, " + ", ".join(f"{n} are scored {kind}" for kind, n in batching.most_common()) + ": "
        "packed is many sequences in one row, padded is a row each, single is a forward pass each.",
        "",
        "| architecture | layers with heads | heads | output projection | scored | verdict |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        remark = row.remark.replace("|", "\\|").replace("\n", " ")
        cells = (row.architecture, row.layers, row.heads, row.projection, row.batching)
        lines.append(f"| {' | '.join(cells)} | {VERDICTS[row.verdict].split(':')[0]}{': ' * bool(remark)}{remark} |")
    return "\n".join(lines) + "\n"


def main(only: str = "", keep: Path | None = None, processes: int = 2) -> None:
    """Check the architectures; without --only, write docs/architectures.md."""
    names = only.split(",") if only else list(ARCHITECTURES)
    with tempfile.TemporaryDirectory() as scratch:
        rows = run_all(names, keep or Path(scratch), processes)
    if not only:
        PAGE.parent.mkdir(exist_ok=True)
        PAGE.write_text(page(rows))
    counts = Counter(row.verdict for row in rows)
    print(", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS))
    raise typer.Exit(1 if counts["wrong"] + counts["traceback"] else 0)


if __name__ == "__main__":
    typer.run(main)
