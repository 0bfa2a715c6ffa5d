"""Tables and pictures that are not comparisons, and the scripts that make them."""

import csv
import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace

import matplotlib.image
import numpy as np
import pytest
import torch
import typer
from lofit_data import write_truthfulqa
from manifests import write_manifest
from paper_runs import write_evaluation, write_selection

from lofit_cli.paper.figures import Matrix, plot_matrices
from lofit_cli.paper.transfer import Transfer, score_transfers
from lofit_cli.report.tables import Table, left_and_right, show_table, write_tables

SCRIPTS = Path(__file__).parents[2] / "scripts" / "reproduce"


def load_script(name):
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def read_records(file):
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


def test_a_table_in_each_form(tmp_path, capsys):
    rows = [["a_b", "1.5"], ["[c]", ""]]
    records = [{"task": "a_b", "share": 0.0151}]
    table = Table("Shares_of |A|", left_and_right("task", "50%"), rows, "p < 0.05", records)
    write_tables([table], tmp_path / "new", "shares")
    show_table(table)
    assert (tmp_path / "new/shares.md").read_text().splitlines()[2:6] == [
        "| task | 50% |",
        "| --- | ---: |",
        "| a_b | 1.5 |",
        "| [c] |  |",
    ]
    latex = (tmp_path / "new/shares.tex").read_text()
    assert r"\caption{Shares\_of \textbar{}A\textbar{}. p \textless{} 0.05}" in latex
    assert "task & 50\\% \\\\\n\\midrule\na\\_b & 1.5 \\\\\n{}[c] &  \\\\\n\\bottomrule" in latex
    assert read_records(tmp_path / "new/shares.csv") == [{"task": "a_b", "share": "0.0151"}]
    assert "[c]" in capsys.readouterr().out


def test_a_matrix_may_have_nothing_in_a_cell(tmp_path):
    values = np.array([[0.1, np.nan], [0.3, 0.2]])
    plot_matrices([Matrix("m", ["a", "b"], ["c", "d"], values, [["1", ""], ["3", "2"]])], tmp_path / "new/m.png")
    assert matplotlib.image.imread(tmp_path / "new/m.png").std() > 0


@pytest.fixture
def selections(tmp_path):
    """Two tasks, two seeds, and random heads."""
    for task, layer in (("t", 0), ("c", 2)):
        for seed in (1, 2):
            folder = tmp_path / f"{task}-0/seed-{seed}"
            write_selection(folder / "heads-scale", [(layer, 0), (layer, seed)], 0, seed)
            write_selection(folder / "heads-random", [(1, 0), (seed, 3)], 0, seed)
    return tmp_path


def test_figure_3(selections):
    load_script("figure3").main(["t", "c"], selections)
    found = {
        (row["task"], row["layer"]): float(row["share"]) for row in read_records(selections / "figure3/figure3.csv")
    }
    assert found == {(task, str(layer)): float(layer == at) for task, at in (("t", 0), ("c", 2)) for layer in range(3)}
    assert {file.suffix for file in (selections / "figure3").iterdir()} == {".csv", ".md", ".tex", ".png"}


def test_figure_6(selections):
    load_script("figure6").main(["t", "c"], selections)
    found = {(row["first"], row["second"]): row for row in read_records(selections / "figure6/figure6.csv")}
    assert float(found["t", "c"]["layer_distance"]) == 2
    assert float(found["t", "t"]["shared"]) == 0.5
    assert float(found["random", "random"]["shared"]) == 0.5
    assert "| distance | t | 0.00 | 2.00 |" in (selections / "figure6/figure6.md").read_text()


def test_figure_2(tmp_path):
    for target, source, scores in (
        ("t", "scale", [1] * 30),
        ("t", "scale-from-c", [0] * 30),
        ("t", "random", [1] * 30),
        ("c", "scale", [1, 0]),
    ):
        write_evaluation(tmp_path / f"{target}-0/seed-1/eval-lofit-{source}", scores, 0)
    load_script("figure2").main(tmp_path, ["t", "c"], num_resamples=500)
    assert (tmp_path / "figure2/figure2.md").read_text().splitlines()[2:7] == [
        "| heads of | t EM | c EM |",
        "| --- | ---: | ---: |",
        "| t | 100.0 |  |",
        r"| c | 0.0\* | 50.0 |",
        "| random | 100.0 |  |",
    ]
    assert (tmp_path / "figure2/figure2.png").exists()


def test_a_cell_of_fewer_folds_than_its_column_says_so():
    own = Transfer("t", "t", "mc1", {0: np.ones(4), 1: np.ones(4)})
    other = Transfer("c", "t", "mc1", {1: np.ones(4)})
    cells = {(s.source, s.target): s for s in score_transfers([own, other], 100, seed=1)}
    assert [load_script("figure2").cell_text(cells, source, "t") for source in ("t", "c", "random")] == [
        "100.0",
        "100.0 (fold 1)",
        "",
    ]


def test_logit_lens(tmp_path, model_dir, monkeypatch):
    script = load_script("logit_lens")
    run = tmp_path / "offsets"
    write_manifest(run, "train_offsets", config={"model": {"id": str(model_dir), "device": "cpu"}})
    edit = SimpleNamespace(offset=torch.ones(2, 8), heads=[(0, 1), (2, 3)])
    monkeypatch.setattr(script, "load_intervention", lambda folder, lm: (edit, {}))
    script.main(run, tmp_path / "out", num_tokens=3)
    found = json.loads((tmp_path / "out/logit_lens.json").read_text())
    assert [(head["layer"], head["head"], len(head["tokens"])) for head in found] == [(0, 1, 3), (2, 3, 3)]
    assert [row["rank"] for row in read_records(tmp_path / "out/logit_lens.csv")] == ["1", "2", "3"] * 2


@pytest.mark.parametrize(
    ("best", "incorrect", "share"),
    [
        (None, None, 1.0),
        ("The answer is right", "The answer is right!", 0.0),
        # What only test questions could teach is not learnt.
        ("{split} good", "{split} bad", 0.0),
    ],
)
def test_answers_alone_are_told_apart_by_training_words_or_not_at_all(tmp_path, best, incorrect, share):
    for fold in (0, 1):
        for split in ("train", "val", "test"):
            words = [text and text.format(split=split).replace(" ", split) for text in (best, incorrect)]
            write_truthfulqa(tmp_path, num_questions={split: 4}, fold=fold, best=words[0], incorrect=words[1])
    load_script("answers_alone").main(tmp_path / "out", data_dir=str(tmp_path))
    found = {row["metric"]: float(row["mean"]) for row in read_records(tmp_path / "out/answers_alone.csv")}
    assert found["mc1"] == share


def test_answers_alone_of_our_own_questions(tmp_path):
    load_script("answers_alone").main(tmp_path, "misconceptions")
    assert [row["metric"] for row in read_records(tmp_path / "answers_alone.csv")] == ["mc1", "mc3"]


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("figure2", (["t"],), "no finished run of t"),
        ("figure3", (), "select the heads first"),
        ("figure6", (), "select the heads first"),
        ("logit_lens", (), "no manifest.json"),
        ("answers_alone", ("kinship",), "--task kinship is not known"),
    ],
)
def test_a_missing_run_is_one_sentence(name, arguments, says, tmp_path, capsys):
    main = load_script(name).main
    folder = {"figure3": "folder", "figure6": "folder"}.get(name)
    with pytest.raises(typer.Exit) as stopped:
        main(**{folder: tmp_path}) if folder else main(tmp_path, *arguments)
    assert stopped.value.exit_code == 2
    assert says in capsys.readouterr().err
