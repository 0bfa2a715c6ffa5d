"""Every YAML file under conf/ composes, and says at its top how to use it."""

from pathlib import Path

import pytest
from composing import composer

from lofit_cli.errors import UserError
from lofit_cli.hydra_config import compose_yaml, conf_dir

STAGES = ("select_heads", "train_offsets", "evaluate")
GROUPS = {"selector": "select_heads", "method": "train_offsets", "judge": "evaluate"}
OPTIONS = sorted(file.relative_to(conf_dir()) for file in conf_dir().glob("*/*.yaml"))


@pytest.mark.parametrize("option", OPTIONS, ids=str)
def test_option_composes_in_each_stage_that_has_its_group(option):
    group, name = option.parent.name, option.stem
    for stage in [GROUPS[group]] if group in GROUPS else STAGES:
        needed = ["model.id=some/model"] if option.match("model/hub.yaml") else []
        assert compose_yaml(stage, [f"{group}={name}", *needed], None)


@pytest.mark.parametrize("stage", [*STAGES, "compare", "describe", "export"])
def test_stage_composes_without_arguments(stage):
    assert "runs_dir: runs" in compose_yaml(stage, [], None)


def test_every_file_opens_with_its_command():
    for file in conf_dir().rglob("*.yaml"):
        head = [line for line in file.read_text().splitlines() if not line.startswith("# @package")]
        assert "lofit " in head[0], file


def test_a_config_dir_of_ones_own_adds_options(tmp_path):
    (tmp_path / "task").mkdir()
    (tmp_path / "task" / "mine.yaml").write_text("name: misconceptions\ntrain_prompt: 'Question: {question}'\n")
    assert "Question: {question}" in compose_yaml("select_heads", ["task=mine"], str(tmp_path))


def test_conf_is_beside_the_package_in_a_checkout():
    assert conf_dir() == Path(__file__).parents[1] / "conf"


PAPER_STEPS = """
gemma_7b   truthfulqa    5e-4 5e-3 2e-2 8e-3
gemma_7b   mquake        5e-4 5e-3 8e-3 8e-3
gemma_7b   clutrr        5e-3 5e-4 1e-2 1e-2
llama2_7b  truthfulqa    5e-4 5e-3 1e-2 5e-3
llama2_7b  mquake        1e-3 5e-3 1e-2 5e-3
llama2_7b  clutrr        5e-3 5e-4 1e-2 5e-3
llama2_13b truthfulqa    1e-3 1e-3 2e-2 5e-3
llama2_13b mquake        1e-3 1e-3 8e-3 5e-3
llama2_13b clutrr        1e-3 1e-3 1e-2 8e-3
llama2_7b  siqa          5e-3 5e-4 -    1e-2
llama2_7b  arc_challenge 1e-3 1e-3 -    5e-3
llama2_7b  boolq         5e-3 5e-4 -    8e-3
llama2_7b  svamp         1e-3 1e-3 -    1e-2
llama2_13b siqa          1e-3 1e-3 -    5e-3
llama2_13b arc_challenge 1e-3 1e-3 -    5e-3
llama2_13b boolq         1e-3 1e-3 -    5e-3
llama2_13b svamp         1e-3 1e-3 -    1e-2
"""
"""Table 6 of LoFiT (arXiv 2406.01563): lambda and learning rate of step 1, learning rate of step 2 at 3 and at 10 %."""

PAPER_PEFT = """
gemma_7b   truthfulqa    1e-3 1e-3  4 1 1e-3 16
gemma_7b   mquake        1e-3 1e-3  4 1 1e-3 8
gemma_7b   clutrr        1e-3 1e-4  8 3 1e-3 8
llama2_7b  truthfulqa    1e-4 5e-4  4 1 1e-3 16
llama2_7b  mquake        1e-3 1e-3  8 3 9e-4 16
llama2_7b  clutrr        1e-3 5e-3  8 3 9e-4 16
llama2_13b truthfulqa    1e-3 1e-3  4 1 1e-3 16
llama2_13b mquake        1e-3 1e-3  8 3 9e-4 8
llama2_13b clutrr        1e-3 1e-3  8 3 9e-4 8
llama2_7b  siqa          1e-3 1e-3  8 3 9e-4 8
llama2_7b  arc_challenge 1e-3 8e-4  8 5 5e-4 8
llama2_7b  boolq         5e-4 5e-4  8 3 1e-4 2
llama2_7b  svamp         1e-3 8e-4  8 3 9e-4 8
llama2_13b siqa          1e-3 1e-3 16 3 1e-4 8
llama2_13b arc_challenge 8e-4 1e-3 16 3 1e-4 8
llama2_13b boolq         1e-4 1e-3  8 3 1e-4 2
llama2_13b svamp         8e-4 8e-4  4 3 9e-4 8
"""
"""Tables 7 and 8: learning rates of LoRA and RED; rank, positions at either end, learning rate and batch of LoReFT."""

PAPER_MODELS = {
    "gemma_7b": ("google/gemma-7b", "bfloat16", 16, 48),
    "llama2_7b": ("meta-llama/Llama-2-7b-hf", "float32", 32, 96),
    "llama2_13b": ("meta-llama/Llama-2-13b-hf", "bfloat16", 48, 160),
}
"""Hub id, dtype, and how many heads 3 % and 10 % of all mean (sections 5 and 6)."""

BOOLQ_BATCH = {"llama2_7b": 4, "llama2_13b": 2}


def rows(table):
    return {tuple(line.split()[:2]): line.split()[2:] for line in table.strip().splitlines()}


def schedule(model, task):
    """Epochs and batch size of all methods but LoReFT (appendix D)."""
    epochs = 3 if task in ("siqa", "arc_challenge", "boolq") else 5
    return {"num_epochs": epochs, "batch_size": BOOLQ_BATCH[model] if task == "boolq" else 8}


def paper_experiments(model, task):
    """The settings of a model's experiments on a task: what -> (stage, trainer, selector or method, K)."""
    (l1, step_1, three, ten), (lora, red, rank, ends, loreft, batch) = (
        rows(table)[model, task] for table in (PAPER_STEPS, PAPER_PEFT)
    )
    _, _, few, many = PAPER_MODELS[model]
    usual = schedule(model, task)
    reft = {"name": "loreft", "rank": int(rank), "num_first": int(ends), "num_last": int(ends)}
    expected = {
        "select": ("select_heads", {"learning_rate": step_1, "l1": l1, **usual}, {"name": "scale"}, many),
        "lofit_10": ("train_offsets", {"learning_rate": ten, **usual}, {"name": "lofit"}, many),
        "lora": ("train_offsets", {"learning_rate": lora, **usual}, {"name": "lora"}, None),
        "red": ("train_offsets", {"learning_rate": red, **usual}, {"name": "red", "layers": "all"}, None),
        "loreft": ("train_offsets", {"learning_rate": loreft, "num_epochs": 5, "batch_size": int(batch)}, reft, None),
    }
    if three == "-":
        return expected
    vector = "reading" if task == "truthfulqa" else "contrast"
    return expected | {
        "select": ("select_heads", {"learning_rate": step_1, "l1": l1, **usual}, {"name": "scale"}, few),
        "lofit_3": ("train_offsets", {"learning_rate": three, **usual}, {"name": "lofit"}, few),
        "iti": ("train_offsets", {}, {"name": "iti", "alphas": [15.0]}, few),
        "repe": ("train_offsets", {}, {"name": "repe", "alphas": [5.0], "vector": vector}, None),
    }


def floats(settings):
    return {name: float(value) for name, value in settings.items()}


@pytest.mark.parametrize(("model", "task"), rows(PAPER_STEPS), ids=str)
def test_the_papers_settings(model, task):
    model_id, dtype, _, _ = PAPER_MODELS[model]
    expected = paper_experiments(model, task)
    with composer() as compose:
        evaluated = compose("evaluate", [f"model={model}", f"task={task}"])
        configs = {
            what: compose(made[0], [f"experiment={model}/{what}", f"task={task}"]) for what, made in expected.items()
        }
    assert (evaluated["model"]["id"], evaluated["model"]["dtype"]) == (model_id, dtype)
    assert evaluated["task"]["name"] == task
    for what, (stage, trainer, part, num_heads) in expected.items():
        config = configs[what]
        assert config["model"] == evaluated["model"], what
        assert config["task"] == evaluated["task"], what
        assert floats(trainer).items() <= config["trainer"].items(), what
        assert config["trainer"]["l1"] == float(trainer.get("l1", 0)), what
        # The paper says 0.01; its code never sets it.
        assert config["trainer"]["weight_decay"] == 0, what
        made = config["selector" if stage == "select_heads" else "method"]
        assert part.items() <= made.items(), what
        assert config["num_heads"] == (None if num_heads is None else str(num_heads)), what
    peft = {"peft_type": "LORA", "r": 8, "lora_alpha": 8, "lora_dropout": 0.1}
    assert configs["lora"]["method"]["config"] == peft


STAGES_OF = {"select": "select_heads"} | dict.fromkeys(
    ("lofit_3", "lofit_10", "lora", "red", "loreft", "iti", "repe"), "train_offsets"
)


def test_each_folder_has_a_file_for_each_row_of_the_paper():
    found = {folder: {file.stem for file in (conf_dir() / "experiment" / folder).iterdir()} for folder in PAPER_MODELS}
    assert all(names == set(STAGES_OF) for names in found.values())
    assert {file.stem for file in (conf_dir() / "experiment" / "default").iterdir()} > set(STAGES_OF)


@pytest.mark.parametrize(("model", "task"), [("llama2_7b", "siqa"), ("gemma_7b", "boolq"), ("llama2_13b", "kinship")])
def test_what_the_paper_has_no_settings_for_is_refused(model, task):
    given = set() if (model, task) not in rows(PAPER_STEPS) else set(paper_experiments(model, task))
    for what in set(STAGES_OF) - given:
        with pytest.raises(UserError, match=f"task={task} has no settings in this experiment; it has truthfulqa, "):
            compose_yaml(STAGES_OF[what], [f"experiment={model}/{what}", f"task={task}"], None)


def test_an_override_wins_over_the_papers_setting():
    overrides = ["experiment=llama2_7b/select", "task=clutrr", "trainer.learning_rate=0.25", "num_heads=7"]
    with composer() as compose:
        config = compose("select_heads", overrides)
    assert (config["trainer"]["learning_rate"], config["trainer"]["l1"], config["num_heads"]) == (0.25, 5e-3, "7")


@pytest.mark.parametrize("task", [*dict.fromkeys(task for _, task in rows(PAPER_STEPS)), "kinship"])
def test_the_settings_for_other_models(task):
    with composer() as compose:
        for what, stage in STAGES_OF.items():
            config = compose(stage, [f"experiment=default/{what}", f"task={task}", "model=qwen3_4b"])
            assert (config["model"]["id"], config["task"]["name"]) == ("Qwen/Qwen3-4B-Base", task)
