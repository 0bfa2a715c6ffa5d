"""LoFiT's appendix E: the tokens that a train-offsets run's offsets point at.

python scripts/reproduce/logit_lens.py runs/paper/smollm2/clutrr-0/seed-42/offsets-lofit-scale
"""

from dataclasses import asdict
from pathlib import Path

import torch
import typer

from lofit_cli.artifacts.files import write_json
from lofit_cli.artifacts.run_dir import read_manifest
from lofit_cli.errors import UserError
from lofit_cli.interventions.files import load_intervention
from lofit_cli.models.load import load_model
from lofit_cli.paper.logit_lens import HeadTokens, logit_lens
from lofit_cli.report.tables import Table, left_and_right, show_table, write_tables
from lofit_cli.schema.sources import ModelConfig


def look(run: Path, num_tokens: int, final_norm: bool) -> list[HeadTokens]:
    """Load the model that a run names and read its offsets, in the order of layers and heads."""
    lm = load_model(ModelConfig(**read_manifest(run, "train_offsets", "run")["config"]["model"]))
    edit, _ = load_intervention(run, lm)
    if getattr(edit, "offset", None) is None:
        raise UserError(f"{run} has no offsets on heads; name a run of method=lofit")
    with torch.no_grad():
        return logit_lens(lm, edit.offset, torch.as_tensor(edit.heads), num_tokens, final_norm)


def main(run: Path, out: Path | None = None, num_tokens: int = 10, final_norm: bool = False) -> None:
    """Write each head's tokens as JSON, CSV, Markdown and LaTeX."""
    try:
        found = look(run, num_tokens, final_norm)
        out = out or Path("runs/logit_lens") / run.name
        lines = [[f"({head.layer}, {head.head})", " ".join(map(repr, head.tokens))] for head in found]
        norm = "the last normalisation and the unembedding" if final_norm else "the unembedding"
        note = f"Offsets through their head's part of the output projection, then {norm}; most probable first."
        records = [
            {"layer": head.layer, "head": head.head, "rank": rank, "token": token, "probability": probability}
            for head in found
            for rank, (token, probability) in enumerate(zip(head.tokens, head.probabilities, strict=True), start=1)
        ]
        table = Table(f"Logit lens of {run}", left_and_right("head", "tokens"), lines, note, records)
        write_tables([table], out, "logit_lens")
        write_json(out / "logit_lens.json", [asdict(head) for head in found])
        show_table(table)
    except UserError as error:
        typer.echo(f"logit_lens: {error}", err=True)
        raise typer.Exit(error.exit_code)


if __name__ == "__main__":
    typer.run(main)
