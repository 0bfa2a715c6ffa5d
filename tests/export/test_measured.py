"""What a model card says was measured: of this intervention, with units, in rows that stay whole."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from manifests import FACTS, write_manifest

from lofit_cli.artifacts.finished_runs import read_manifest
from lofit_cli.artifacts.manifest import TrainOffsetsManifest
from lofit_cli.exports.card import results_table
from lofit_cli.exports.measured import measured_metrics


@pytest.fixture
def rows(tmp_path):
    """Return a function that measures an intervention and returns the rows of its card."""
    folder = tmp_path / "runs/train_offsets/made"
    write_manifest(folder, "train_offsets", seed=1)
    made = read_manifest(folder, TrainOffsetsManifest, "intervention")

    def rows(metric="mc1", values=(1.0, 1.0, 0.0, 1.0), **facts):
        run = tmp_path / "runs/evaluate/measured"
        run.mkdir(parents=True)
        ids = [str(i) for i in range(len(values))]
        table = {"question_id": ids, "category": [""] * len(ids), metric: np.array(values)}
        pq.write_table(pa.table(table), run / "predictions.parquet")
        stated = {"method": FACTS["train_offsets"]["method"], "intervention": str(folder), "metrics": [metric]}
        write_manifest(run, "evaluate", **stated | facts)
        return measured_metrics(tmp_path / "runs", folder, made)

    return rows


def test_a_card_lists_what_was_measured_of_its_intervention(rows):
    assert len(rows()) == 1


def test_a_card_lists_nothing_of_another_intervention_that_lay_at_the_path_before(rows):
    assert rows(seed=2) == []


def test_a_card_gives_each_mean_with_its_unit(rows):
    assert rows()[0][1:3] == ("mc1", "75.0 %")


def test_a_card_gives_log_probabilities_in_nats(rows):
    assert rows("token_logprob", (-1.0, -2.0, -3.0, -4.0))[0][1:3] == ("token_logprob", "-2.50 nats")


def test_a_system_prompt_breaks_no_row_of_a_card(rows):
    (_, table) = results_table(rows(system_prompt="a | b\nc", chat_template="x"))
    heads, _, *lines = table.splitlines()
    assert [line.count("|") for line in lines] == [heads.count("|")]
