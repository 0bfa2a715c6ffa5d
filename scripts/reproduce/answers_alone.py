"""How far a benchmark's right answers can be told from wrong ones by their words alone, without question or model.

python scripts/reproduce/answers_alone.py runs/answers_alone --data-dir data/truthfulqa
python scripts/reproduce/answers_alone.py runs/answers_alone_ours --task misconceptions

Logistic regression on TF-IDF words, scikit-learn's defaults, fitted to the pairs that methods with a gradient train on.
"""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from lofit_cli.analysis.intervals import Folds, Interval, mean_interval, stack
from lofit_cli.artifacts.predictions import metric_scale
from lofit_cli.errors import UserError, did_you_mean
from lofit_cli.report.comparison.words import interval_text, percent
from lofit_cli.report.tables import Cell, Table, left_and_right, show_table, write_tables
from lofit_cli.schema.sources import TaskConfig
from lofit_cli.tasks import FOLDS, load_task
from lofit_cli.tasks.task import Task

TASKS = ("misconceptions", "truthfulqa")
RANKED = ("mc1", "mc3")
"""Metrics that ask which answer is likelier, not by how much: the scale of these scores is not a model's."""

TaskName = Annotated[str, typer.Option(help=", ".join(TASKS))]
DataDir = Annotated[str | None, typer.Option(help="Folder with the CSV files; without it they come from the Hub.")]


def load_fold(name: str, fold: int, data_dir: str | None) -> Task[Any]:
    """Return a fold of one of the tasks that have an MC1."""
    if name not in TASKS:
        raise UserError(f"--task {name} is not known; {did_you_mean(name, TASKS)}")
    return load_task(TaskConfig(name, fold=fold, data_dir=data_dir))


def score_by_words(task: Task[Any]) -> list[dict[str, float]]:
    """Return each test question's metrics, its answers scored by a classifier of the training answers."""
    pairs = [(answer, i < e.num_chosen) for e in task.examples("train") for i, answer in enumerate(e.answers)]
    answers, chosen = zip(*pairs, strict=True)
    classifier = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(answers, chosen)
    questions = task.items("test")
    scores = [classifier.predict_log_proba([*q.correct, *q.incorrect])[:, 1].tolist() for q in questions]
    return [task.predict(q, log_probs).metrics for q, log_probs in zip(questions, scores, strict=True)]


def main(out: Path, task: TaskName = "truthfulqa", data_dir: DataDir = None) -> None:
    """Write the metrics of the test questions of all folds as CSV, Markdown and LaTeX."""
    try:
        scored = [score_by_words(load_fold(task, fold, data_dir)) for fold in range(FOLDS.get(task, 1))]
    except UserError as error:
        typer.echo(f"answers_alone: {error}", err=True)
        raise typer.Exit(error.exit_code)
    columns: list[Folds] = [
        {fold: np.array([row[name] for row in rows]) for fold, rows in enumerate(scored)} for name in RANKED
    ]
    records, lines = [], []
    for name, values in zip(RANKED, columns, strict=True):
        mean, interval = float(stack(values).mean()), mean_interval(values, Interval(*metric_scale(name)))
        records.append({"metric": name, "mean": mean, "low": interval.low, "high": interval.high})
        lines.append([name.upper(), Cell(percent(mean), interval_text(interval))])
    note = f"{sum(map(len, scored))} test questions of {task}, scored by the words of their answers"
    table = Table("Answers alone", left_and_right("metric", "% [95 %]"), lines, note, records)
    write_tables([table], out, "answers_alone")
    show_table(table)


if __name__ == "__main__":
    typer.run(main)
