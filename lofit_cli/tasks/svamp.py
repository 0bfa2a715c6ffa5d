"""SVAMP (Patel et al. 2021, arXiv 2103.07191): a word problem whose equation is generated and worked out."""

import ast
import math
import operator
import random
from collections.abc import Callable, Sequence
from pathlib import Path

from lofit_cli.schema.sources import TaskConfig
from lofit_cli.tasks.forms.generation import GenerationTask, OpenItem
from lofit_cli.tasks.records import Record, load_hub_records, read_records

PROMPT = "Question: {body} {question}\nEquation:"
"""LoFiT (arXiv 2406.01563), appendix C."""

SPLIT_SIZES = {"train": 350, "validation": 350, "test": 300}
"""LoFiT's; which problems went where is not published, so the draw is ours."""

SAMPLING_SEED = 42
OPERATORS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
OPPOSITES = str.maketrans("+-*/", "-+/*")


def load_svamp(config: TaskConfig) -> GenerationTask:
    """Return SVAMP in LoFiT's split sizes: from `task.data_dir` with `SVAMP.json`, else from the Hub.

    The equation is trained on, and no answer behind it: how LoFiT writes the two down is not published.
    """
    if config.data_dir:
        records = read_records(Path(config.data_dir) / "SVAMP.json")
    else:
        name = config.hub_id or "ChilleD/SVAMP"
        records = [row for split in ("train", "test") for row in load_hub_records(name, None, split)]
    problems = [_item(record) for record in records]
    random.Random(SAMPLING_SEED).shuffle(problems)
    return GenerationTask(config, _split(problems), metric="em", is_right=has_value)


def _split(problems: Sequence[OpenItem]) -> dict[str, list[OpenItem]]:
    """Split in LoFiT's sizes, or in their proportions where there are fewer problems than SVAMP has."""
    share = min(1, len(problems) / sum(SPLIT_SIZES.values()))
    train, validation = (int(SPLIT_SIZES[split] * share) for split in ("train", "validation"))
    return {
        "train": list(problems[:train]),
        "validation": list(problems[train : train + validation]),
        "test": list(problems[train + validation :][: SPLIT_SIZES["test"]]),
    }


def _item(record: Record) -> OpenItem:
    equation = record.text("Equation")
    text = PROMPT.format(body=record.text("Body").strip(), question=record.text("Question"))
    wrong = f" {equation.translate(OPPOSITES)}"
    return OpenItem(record.label("ID"), record.text("Type"), text, f" {equation}", (_number(record, "Answer"),), wrong)


def _number(record: Record, name: str) -> str:
    """Return a field that holds a finite number, which the Hub's version writes as a text."""
    value = record.get(name)
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise record.refusal(name, value, "a number")
    return str(number)


def has_value(generated: str, item: OpenItem) -> bool:
    """Return whether a generated equation works out to the right answer."""
    value = work_out(generated.split("=")[0])
    return value is not None and math.isclose(value, float(item.accepted[0]), abs_tol=1e-4)


def work_out(equation: str) -> float | None:
    """Return the value of an expression of numbers, + - * / and brackets; None where it is anything else."""
    try:
        return _value(ast.parse(equation.strip(), mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError, OverflowError, RecursionError, MemoryError):
        return None


def _value(node: ast.expr) -> float:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        return float(node.value)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand)
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        return OPERATORS[type(node.op)](_value(node.left), _value(node.right))
    raise ValueError("not arithmetic")
