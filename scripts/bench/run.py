"""lofit beside its peers in one process and by turns: scoring, DPO training, what its parts cost, and memory.

scripts/bench/run.sh --rows scoring,dpo                      all peers, in an environment of their own
python scripts/bench/run.py --data-dir FOLDER --repeats 3    with what is installed

Leaves bench.json, bench.md and bench.png in runs/bench. A row fails where both sides do not find the same numbers.
"""

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

sys.path.insert(0, str(Path(__file__).resolve().parent))

from machine import describe_machine, matmul_gflops, versions
from measuring import time_row
from memory import measure_apart, measure_side
from place import Place, Settings
from profiling import profile_side
from rows import choose_rows, memory_rows, profile_rows, row_makers
from show import show

from lofit_cli.artifacts.files import write_json
from lofit_cli.console import progress_bar, say, show_text
from lofit_cli.errors import UserError
from lofit_cli.schema.checks import one_of, within

DTYPES = ("float32", "bfloat16")

Rows = Annotated[str, typer.Option(help="Names of rows, or beginnings of them, with commas between; all by default.")]
Sizes = Annotated[str, typer.Option(help="How many test questions are scored, with commas between.")]
Heads = Annotated[str, typer.Option(help="Heads for offsets, as LAYER.HEAD with commas between; drawn by default.")]
Share = Annotated[float, typer.Option(help="Share of the questions that a scoring peer does; its time is scaled up.")]
MemoryOf = Annotated[str, typer.Option(help="ROW:SIDE: measure one side's memory in this process, and print it.")]


def main(
    model: str = "smollm2",
    data_dir: str = "",
    out: Path = Path("runs/bench"),
    repeats: int = 3,
    questions: Sizes = "24,100,409",
    lm_eval_questions: Sizes = "100",
    pairs: int = 64,
    heads: Heads = "",
    rows: Rows = "",
    dtypes: str = ",".join(DTYPES),
    peer_share: Share = 1.0,
    matmul_size: int = 2048,
    memory: bool = True,
    memory_of: MemoryOf = "",
) -> None:
    """Measure lofit and its peers side by side."""
    try:
        for dtype in (chosen := dtypes.split(",")):
            one_of("--dtypes", dtype, DTYPES)
        for name, number in (("--repeats", repeats), ("--pairs", pairs), ("--matmul-size", matmul_size)):
            within(name, number, 1)
        sizes = _numbers("--questions", questions), _numbers("--lm-eval-questions", lm_eval_questions)
        settings = Settings(model, data_dir or None, *sizes, pairs, _heads(heads), _share(peer_share))
        if memory_of:
            _print_memory(settings, chosen[0], memory_of)
            return
        names, left_out = choose_rows(settings, rows)
        if not settings.data_dir:
            say("note: no --data-dir (DATA=FOLDER for run.sh), so the bundled questions 'misconceptions' are measured")
        found = _measure(settings, names, chosen, repeats, matmul_size)
        found |= {"left_out": left_out, "memory": _memory(settings, names, chosen) if memory else []}
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / "bench.json", found)
        show(found, out)
        _require_agreement(found["rows"])
    except UserError as error:
        say(f"bench: {error}")
        raise typer.Exit(error.exit_code)


def _numbers(key: str, text: str) -> tuple[int, ...]:
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and int(word) for word in words):
        raise UserError(f"{key} {text} must be whole numbers from 1 on with commas between them")
    return tuple(map(int, words))


def _heads(text: str) -> tuple[tuple[int, int], ...]:
    pairs = [word.strip().split(".") for word in text.split(",") if word.strip()]
    if not all(len(pair) == 2 and all(part.isdecimal() for part in pair) for pair in pairs):
        raise UserError(f"--heads {text} must be LAYER.HEAD with commas between, such as 3.0,5.2")
    return tuple((int(layer), int(head)) for layer, head in pairs)


def _share(value: float) -> float:
    if not 0 < value <= 1:
        raise UserError(f"--peer-share {value:g} must be above 0 and at most 1")
    return value


def _measure(settings: Settings, names: list[str], dtypes: list[str], repeats: int, matmul_size: int) -> dict[str, Any]:
    """Return what bench.json says, but for memory: of each dtype the speed of matrix products, then all rows."""
    makers, found, peaks = row_makers(settings), [], {}
    with progress_bar("bench", 2 * repeats * len(names) * len(dtypes)) as advance:
        for dtype in dtypes:
            peaks[dtype] = matmul_gflops(dtype, matmul_size)
            place = Place.open(settings, dtype)
            for name in names:
                row = makers[name](place)
                found.append(time_row(row, dtype, repeats, advance))
                if name in profile_rows(names):
                    found[-1] |= {f"{side}_profile": profile_side(getattr(row, side)) for side in ("ours", "peer")}
    about = {"settings": asdict(settings), "task": settings.task().name, "repeats": repeats}
    times = {"measured_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "matmul_gflops": peaks}
    return {"machine": describe_machine(), "versions": versions(), **about, **times, "rows": found}


def _memory(settings: Settings, names: list[str], dtypes: list[str]) -> list[dict[str, Any]]:
    """Return the memory of both sides of each kind of job, measured in processes of their own."""
    jobs = [(name, side, dtype) for dtype in dtypes for name in memory_rows(names) for side in ("ours", "peer")]
    with progress_bar("memory", len(jobs)) as advance:
        found = []
        for name, side, dtype in jobs:
            found.append(measure_apart(name, side, dtype, _options(settings)))
            advance(1, f"{name} {side} {dtype}")
    return found


def _options(settings: Settings) -> list[str]:
    """Return the settings as they are typed."""
    heads = ",".join(f"{layer}.{head}" for layer, head in settings.heads)
    typed = {
        "model": settings.model,
        "data-dir": settings.data_dir or "",
        "questions": ",".join(map(str, settings.questions)),
        "lm-eval-questions": ",".join(map(str, settings.lm_eval_questions)),
        "pairs": str(settings.pairs),
        "heads": heads,
        "peer-share": str(settings.peer_share),
    }
    return [word for key, value in typed.items() if value for word in (f"--{key}", value)]


def _print_memory(settings: Settings, dtype: str, asked: str) -> None:
    """Print the memory of one side of a row as a line of JSON."""
    name, _, side = asked.rpartition(":")
    makers = row_makers(settings)
    one_of("--memory-of ROW", name, tuple(makers))
    one_of("--memory-of SIDE", side, ("ours", "peer"))
    place = Place.open(settings, dtype)
    show_text(json.dumps(measure_side(makers[name](place), side, place.lm.model)) + "\n")


def _require_agreement(rows: list[dict[str, Any]]) -> None:
    wrong = [f"{row['row']} ({row['largest_gap']:.1e})" for row in rows if row["agrees"] is False]
    if wrong:
        say(f"bench: both sides differ by more than rounding in {', '.join(wrong)}; their times say nothing")
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
