"""The script that sets learning rates side by side."""

import csv
import importlib.util
import json
from pathlib import Path

import typer
from typer.testing import CliRunner

from lofit_cli.artifacts.run_dir import STATED

FILE = Path(__file__).parents[1] / "scripts" / "reproduce" / "tune.py"
spec = importlib.util.spec_from_file_location("tune", FILE)
tune = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tune)


def finish(folder, method, rate, *mc2, status="finished"):
    folder.mkdir(parents=True)
    trainer = {"trainer": {"learning_rate": rate}}
    about = dict.fromkeys(STATED["train_offsets"], "x")
    manifest = about | {"stage": "train_offsets", "status": status, "task": "t", "method": method, "config": trainer}
    if method == "lofit":
        manifest["num_heads"] = 27
    (folder / "manifest.json").write_text(json.dumps(manifest))
    lines = [json.dumps({"epoch": i, "loss": 1 - value, "mc2": value}) for i, value in enumerate(mc2)]
    (folder / "validation.jsonl").write_text("\n".join(lines))
    return folder


def test_the_last_look_counts_and_each_method_has_its_best(tmp_path):
    runs = [
        finish(tmp_path / "a0", "lora", 1e-3, 0.9, 0.5),
        finish(tmp_path / "a1", "lora", 1e-3, 0.7),
        finish(tmp_path / "b", "lora", 1e-2, 0.55),
        finish(tmp_path / "c", "lofit", 1e-2, 0.4),
        finish(tmp_path / "d", "lofit", 1e-1, 0.99, status="failed"),
    ]
    (tmp_path / "iti").mkdir()
    (tmp_path / "iti/manifest.json").write_text((tmp_path / "a0/manifest.json").read_text())
    runs.append(tmp_path / "iti")
    points = tune.read_validation([*runs, tmp_path / "nowhere"])
    assert tune.choose(points, "mc2") == {("t", "lora", 1e-3), ("t", "lofit (27 heads)", 1e-2)}
    assert tune.choose(points, "loss") == {("t", "lora", 1e-3), ("t", "lofit (27 heads)", 1e-2)}
    app = typer.Typer()
    app.command()(tune.main)
    result = CliRunner().invoke(app, [str(tmp_path / "out"), *map(str, runs)])
    assert result.exit_code == 0, result.output
    refused = CliRunner().invoke(app, [str(tmp_path / "out"), *map(str, runs), "--metric", "mc3"])
    assert (refused.exit_code, "allowed: loss, mc2" in refused.stderr) == (2, True)
    rows = list(csv.DictReader((tmp_path / "out" / "tune.csv").open()))
    assert [(row["method"], row["learning_rate"], float(row["mc2"])) for row in rows] == [
        ("lofit (27 heads)", "0.01", 0.4),
        ("lora", "0.001", 0.6),
        ("lora", "0.01", 0.55),
    ]
