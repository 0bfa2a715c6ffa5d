"""Each selector finds the heads that it is meant to find."""

import pytest
import torch
from manifests import FACTS
from sklearn.linear_model import LogisticRegression
from tiny_models import build_language_model

from lofit_cli.artifacts.head_mask import HeadMask, select_top
from lofit_cli.artifacts.run_dir import RunDir, start_run
from lofit_cli.artifacts.seen_items import add_seen, read_seen
from lofit_cli.models.activations import last_token_activations
from lofit_cli.models.logprobs import tokenize
from lofit_cli.schema.components import SELECTOR_CONFIGS, FileConfig, FromRunConfig, SelectorConfig, TrainerConfig
from lofit_cli.schema.sources import EvalConfig, ModelConfig, TaskConfig
from lofit_cli.schema.stages import CompareConfig, SelectHeadsConfig
from lofit_cli.selectors import SELECTORS, get_selector
from lofit_cli.tasks.forms.truthfulqa import Question, TruthfulQATask

OWN = sorted(set(SELECTORS) - {"file", "from_run"})
LEARNING = sorted(set(OWN) - {"random"})


def _task(seed=0):
    draw = torch.Generator().manual_seed(seed)

    def question(split, i):
        first, second, third = torch.randint(100, 999, (3,), generator=draw).tolist()
        return Question(f"{split}{i}", "", f"Which {first}?", f"a{second}", (f"a{second}",), (f"b{third}", f"c{first}"))

    splits = {"train": 12, "validation": 6, "test": 2}
    return TruthfulQATask(TaskConfig("t"), {s: [question(s, i) for i in range(n)] for s, n in splits.items()})


def _select(name, folder, **trainer):
    lm, task = build_language_model("llama"), _task()
    settings = TrainerConfig(learning_rate=0.01, num_epochs=1, **trainer)
    selector = SELECTOR_CONFIGS.get(name, SelectorConfig)(name)
    config = SelectHeadsConfig(ModelConfig("m"), TaskConfig("t"), selector, settings, EvalConfig())
    folder.mkdir(exist_ok=True)
    return lm, task, get_selector(selector)(lm, task, config, RunDir(folder, "select_heads"))


@pytest.mark.parametrize("name", OWN)
def test_scores_are_finite_repeatable_and_one_a_head(name, tmp_path):
    lm, _, scores = _select(name, tmp_path / "a")
    assert scores.shape == (lm.geometry.num_layers, lm.geometry.max_heads)
    assert scores.isfinite().all()
    assert scores.equal(_select(name, tmp_path / "b")[2])


@pytest.mark.parametrize("name", LEARNING)
def test_what_is_learnt_from_is_listed_and_no_test_question_is(name, tmp_path):
    _, task, _ = _select(name, tmp_path)
    splits = ("train",) if name in ("mean_difference", "sink") else ("train", "validation")
    assert read_seen(tmp_path) == task.fingerprints(*splits)


def test_probe_is_a_logistic_regression_on_each_heads_last_token(tmp_path):
    lm, task, scores = _select("probe", tmp_path)
    features, labels = {}, {}
    for split in ("train", "validation"):
        items = [(f"Q: {q.text}\nA:", [f" {a}." for a in (*q.correct, *q.incorrect)]) for q in task.items(split)]
        sequences = [sequence for item in tokenize(lm, items) for sequence in item]
        features[split] = last_token_activations(lm, sequences)
        labels[split] = [i == 0 for _ in task.items(split) for i in range(3)]
    for layer, head in ((0, 0), (2, 3)):
        probe = LogisticRegression(max_iter=1000).fit(features["train"][:, layer, head], labels["train"])
        expected = probe.score(features["validation"][:, layer, head], labels["validation"])
        assert float(scores[layer, head]) == pytest.approx(expected)


def test_layer_probe_scores_the_heads_of_a_layer_alike(tmp_path):
    _, _, scores = _select("probe_layers", tmp_path)
    assert all(len(set(layer.tolist())) == 1 for layer in scores)
    assert len(set(scores[:, 0].tolist())) > 1


def test_offset_norm_finds_the_head_that_matters(tmp_path):
    # The other heads' outputs are cut off, so no gradient reaches their offsets.
    lm, task = build_language_model("llama"), _task()
    width = lm.geometry.head_dim
    for layer, projection in lm.output_projections.items():
        kept = projection.weight[:, 2 * width : 3 * width].clone()
        projection.weight.zero_()
        if layer == 1:
            projection.weight[:, 2 * width : 3 * width] = kept
    config = SelectHeadsConfig(
        ModelConfig("m"), TaskConfig("t"), SelectorConfig("offset_norm"), TrainerConfig(learning_rate=0.01)
    )
    scores = get_selector(SelectorConfig("offset_norm"))(lm, task, config, RunDir(tmp_path, "select_heads"))
    assert divmod(int(scores.argmax()), lm.geometry.max_heads) == (1, 2)


def _copy(selector, lm, folder):
    config = SelectHeadsConfig(ModelConfig("m"), TaskConfig("t"), selector, TrainerConfig(learning_rate=0.01))
    run = RunDir(folder, "select_heads")
    folder.mkdir()
    return run, get_selector(selector)(lm, _task(), config, run)


def test_another_runs_scores_are_taken_with_what_it_has_seen(tmp_path):
    lm = build_language_model("llama")
    scores = torch.rand(3, 4)
    with start_run(tmp_path / "a", "select_heads", CompareConfig()) as source:
        HeadMask("m", lm.geometry, "scale", scores, select_top(scores, 2)).save(source.path)
        source.record(**FACTS["select_heads"])
        source.record_settings(task={"name": "clutrr"})
        add_seen(source.path, ["item"])
    run, found = _copy(FromRunConfig("from_run", str(tmp_path / "a")), lm, tmp_path / "b")
    assert found.equal(scores)
    assert read_seen(run.path) == {"item"}
    assert run.facts["made_by"] == {"source.task.name": "clutrr", "source.model": "smollm2 aaaaaaaa"}


def test_a_list_of_heads_ranks_those_it_names(tmp_path):
    lm = build_language_model("llama")
    file = tmp_path / "heads.json"
    file.write_text("[[2, 1], [0, 3]]")
    add_seen(tmp_path, ["item"])
    run, scores = _copy(FileConfig("file", str(file)), lm, tmp_path / "b")
    assert read_seen(run.path) == {"item"}
    assert select_top(scores, 1).nonzero().tolist() == [[2, 1]]
    assert scores.isfinite().sum() == 2
