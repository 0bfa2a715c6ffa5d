"""Export edits of random numbers from every listed family in every form; writes the tables of docs/export.md.

python scripts/export_table.py                     all of them, in a quarter of an hour on a core
python scripts/export_table.py --only llama,mpt    some of them, printed

A family is a tiny random checkpoint of tests/helpers/tiny_checkpoints.py, each norm and bias of it randomised, with
windows of 16 tokens. A number is the largest difference of a token's log-probability, in nats, between the export as
stock transformers (or peft) loads it and the edited base; the longest text has 512 tokens.
"""

import re
import sys
import tempfile
import traceback
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers
import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "helpers"))

from exporting import EDITS, export_edit
from tiny_checkpoints import build_checkpoint

from lofit_cli.errors import RunError, UserError

PAGE = Path(__file__).resolve().parents[1] / "docs" / "export.md"
BEGIN, END = "<!-- export_table.py begins -->", "<!-- export_table.py ends -->"
FULL = {"sliding_window": None}
FAMILIES = {
    "llama": ("llama", {}),
    "mistral, no window": ("mistral", FULL),
    "mistral, window": ("mistral", {}),
    "ministral": ("ministral", {}),
    "qwen2": ("qwen2", {}),
    "qwen3": ("qwen3", {}),
    "gemma": ("gemma", {}),
    "gemma2": ("gemma2", {}),
    "gemma3": ("gemma3_text", {}),
    "phi3, no window": ("phi3", FULL),
    "phi3, window": ("phi3", {"sliding_window": 16}),
    "gpt2": ("gpt2", {}),
    "gpt_neox": ("gpt_neox", {}),
    "gptj": ("gptj", {}),
    "opt": ("opt", {}),
    "bloom": ("bloom", {}),
    "falcon": ("falcon", {}),
    "olmo2": ("olmo2", {}),
    "cohere": ("cohere", {}),
    "granite": ("granite", {}),
    "smollm3": ("smollm3", {}),
    "seed_oss": ("seed_oss", {}),
    "mixtral": ("mixtral", {}),
    "qwen2_moe": ("qwen2_moe", {}),
    "glm4": ("glm4", {}),
    "exaone4": ("exaone4", {}),
    "mpt": ("mpt", {}),
    "starcoder2": ("starcoder2", {}),
    "phi": ("phi", {}),
    "stablelm": ("stablelm", {}),
    "nemotron": ("nemotron", {}),
}
TARGETS = {
    "hf": ("offset", "scale", "scale and offset", "direction", "bitfit", "lora", "full"),
    "peft": ("offset", "scale", "scale and offset", "direction", "lora"),
    "gguf": ("offset", "direction"),
    "vector": ("scale and offset", "direction"),
}
TITLES = {
    "hf": "Weights (`to=hf`); the form is that of offsets on heads:",
    "peft": "Adapters (`to=peft`):",
    "gguf": "Weights for llama.cpp (`to=gguf`), where it reads the bias of the output projection:",
}
IN_TABLES = {"hf": TARGETS["hf"], "peft": TARGETS["peft"], "gguf": ("offset",)}
"""What has a table; control vectors and vectors, which are added by hooks, differ by nothing and have a sentence."""
FAULT = "FAULT"


@dataclass(frozen=True)
class Cell:
    """What came of one export: a difference and the edit's own effect, or words."""

    difference: float | None
    effect: float
    words: str


def try_export(source: Path, edit: str, to: str, folder: Path) -> Cell:
    """Export one edit in one form."""
    try:
        plan, written = export_edit(source, EDITS[edit], to, folder)
    except RunError as error:
        return Cell(None, 0, f"{FAULT}: {error}")
    except UserError:
        return Cell(None, 0, "refused")
    except Exception as error:
        traceback.print_exc()
        return Cell(None, 0, f"{FAULT}: {type(error).__name__}")
    return Cell(written.proof.largest_difference, written.proof.effect, plan.words.removeprefix("weights in "))


def try_family(name: str, work: Path) -> dict[tuple[str, str], Cell]:
    """Export every edit in every form from one family."""
    family, changes = FAMILIES[name]
    source, cells = work / "base", {}
    build_checkpoint(family, source, **changes)
    for to, edits in TARGETS.items():
        for edit in edits:
            cells[to, edit] = try_export(source, edit, to, work / f"{to}-{edit}")
            print(name, to, edit, cells[to, edit], flush=True)
    return cells


def tables(found: dict[str, dict[tuple[str, str], Cell]]) -> str:
    """Return the tables in Markdown."""
    done = [cell for cells in found.values() for cell in cells.values() if cell.difference is not None]
    largest, smallest = max(cell.difference for cell in done), min(cell.effect for cell in done)
    lines = [
        f"Made by `python scripts/export_table.py` with transformers {transformers.__version__}, from {len(found)} "
        f"tiny random models; {len(done)} exports hold. A token's log-probability differs by {largest:.1e} nats at "
        f"most, and each edit itself moves some token by {smallest:.2g} nats or more.",
    ]
    hooked = [cells[key] for cells in found.values() for key in (("gguf", "direction"), ("vector", "scale and offset"))]
    lines[0] += f" Control vectors and vectors, added by hooks, differ by at most {_largest(hooked)}."
    for to, edits in IN_TABLES.items():
        form = ["form"] if to in ("hf", "gguf") else []
        lines += ["", TITLES[to], "", _row(["family", *edits, *form]), _row(["---"] * (1 + len(edits) + len(form)))]
        for name, cells in found.items():
            row = [cells[to, edit] for edit in edits]
            words = [row[0].words] if form else []
            lines.append(_row([name, *map(_shown, row), *words]))
    return "\n".join(lines)


def _largest(cells: list[Cell]) -> str:
    return f"{max(cell.difference for cell in cells):.1e} nats"


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _shown(cell: Cell) -> str:
    return cell.words if cell.difference is None else f"{cell.difference:.1e}"


def main(only: str = "") -> None:
    """Export from the families; without --only, write the tables into docs/export.md."""
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    found = {}
    for name in only.split(",") if only else FAMILIES:
        with tempfile.TemporaryDirectory() as work:
            found[name] = try_family(name, Path(work))
    text = tables(found)
    if only:
        print(text)
    else:
        page = PAGE.read_text(encoding="utf-8")
        between = re.compile(f"{re.escape(BEGIN)}.*{re.escape(END)}", re.DOTALL)
        PAGE.write_text(between.sub(lambda _: f"{BEGIN}\n{text}\n{END}", page), encoding="utf-8")
    raise typer.Exit(1 if FAULT in text else 0)


if __name__ == "__main__":
    typer.run(main)
