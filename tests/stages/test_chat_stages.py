"""The four stages on a chat model: asked in its template, stated, and never set beside what was not."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from chat_models import build_chat_model
from stage_runs import FAST, manifest, ok
from tiny_models import build_model, build_tokenizer

from lofit_cli.models.logprobs import score_answers
from lofit_cli.prompts import ask_question
from lofit_cli.tasks.forms.truthfulqa import PROTOCOLS

CHAT = ("model.chat_template=true", "model.system_prompt=Be brief.")


@pytest.fixture
def chat(lofit):
    """Run a stage on a tiny model with Qwen 3's kind of template."""
    lm = build_chat_model("qwen3", system_prompt="Be brief.")
    lm.model.save_pretrained("chat")
    lm.tokenizer.save_pretrained("chat")

    def run(stage, *overrides):
        return ok(lofit(stage, *(("model.id=chat",) if stage != "compare" else ()), *overrides))

    run.lm = lm
    return run


@pytest.mark.parametrize("selector", ["scale", "probe"])
def test_the_four_stages_ask_in_turns(chat, selector):
    chat("select-heads", *CHAT, *FAST, f"selector={selector}", "num_heads=2")
    chat("train-offsets", *CHAT, *FAST, "trainer.learning_rate=1.0")
    chat("evaluate", "-m", *CHAT, "intervention=none,latest")
    (folder,) = Path("runs/train_offsets").iterdir()
    assert manifest(folder)["chat_template"] == chat.lm.chat.hash
    assert manifest(folder)["system_prompt"] == "Be brief."
    assert "chat template, system prompt 'Be brief.'" in " ".join(chat("compare").stdout.split())


def test_answers_are_scored_behind_the_primer_in_turns(chat):
    chat("evaluate", *CHAT, "intervention=none", "hydra.run.dir=out")
    row = pq.read_table("out/predictions.parquet").to_pylist()[0]
    prompt = PROTOCOLS["iti"] + ask_question(row["question"])
    assert row["log_probs"] == pytest.approx(score_answers(chat.lm, [(prompt, row["answers"])])[0], abs=1e-4)


def test_runs_with_and_without_the_template_are_never_paired(chat):
    for name, settings in (("turns", CHAT[:1]), ("brief", CHAT), ("text", ())):
        chat("evaluate", *settings, "intervention=none", f"hydra.run.dir=runs/evaluate/{name}")
    chat("compare")
    (folder,) = Path("runs/compare").iterdir()
    sections = manifest(folder)["sections"]
    assert [bool(section["chat_template"]) for section in sections].count(True) == 2
    assert len(sections) == 3


def test_the_latest_run_is_one_that_was_asked_alike(chat, lofit):
    chat("train-offsets", "method=red", *FAST, "hydra.run.dir=runs/train_offsets/text")
    refused = lofit("evaluate", "model.id=chat", *CHAT)
    assert refused.exit_code == 2
    assert "uses_chat_template True, system_prompt Be brief." in " ".join(refused.stderr.split())
    chat("train-offsets", "method=red", *CHAT, *FAST, "hydra.run.dir=runs/train_offsets/turns")
    assert "taking runs/train_offsets/turns" in chat("evaluate", *CHAT).stderr
    assert "taking runs/train_offsets/text" in chat("evaluate").stderr


def test_examples_in_the_prompt_are_turns(chat):
    chat("train-offsets", *CHAT, "method=icl", "method.num_examples=2")
    chat("evaluate", *CHAT, "hydra.run.dir=out")
    (folder,) = Path("runs/train_offsets").iterdir()
    about = json.loads(Path(folder, "manifest.json").read_text())
    assert about["chat_template"] == chat.lm.chat.hash
    assert manifest("out")["method"] == "icl"


def test_what_the_model_says_is_taken_from_its_own_turn(chat):
    settings = ("task=truthfulqa_generation", "task.max_new_tokens=4")
    chat("evaluate", *CHAT, *settings, "intervention=none", "hydra.run.dir=out")
    row = pq.read_table("out/predictions.parquet").to_pylist()[0]
    (said,) = chat.lm.generate([PROTOCOLS["iti"] + ask_question(row["question"])], 4)
    assert row["generated"] == said.strip().split("\n")[0].strip()


def test_a_template_that_is_not_used_is_worth_a_line(chat):
    assert "model.chat_template=true uses it" in " ".join(chat("evaluate", "intervention=none").stderr.split())
    assert "was trained to chat" not in chat("evaluate", *CHAT, "intervention=none").stderr


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (("model.system_prompt=Hi.",), "model.system_prompt is for conversations; add model.chat_template=true"),
        (("model.chat_template=true", "model.add_bos=true"), "model.add_bos=true is not for model.chat_template=true"),
        (("model.chat_template=true",), "needs a tokenizer with a chat template, and model"),
        (("model.chat_template=yes please",), "model.chat_template"),
    ],
)
def test_settings_of_a_conversation_that_cannot_be(settings, words, lofit):
    refused = lofit("evaluate", *settings, "intervention=none")
    assert refused.exit_code == 2
    assert words in " ".join(refused.stderr.split())


def test_a_contrast_of_instructions_is_not_for_turns(chat, lofit):
    refused = lofit("train-offsets", "model.id=chat", *CHAT, "method=repe", "method.vector=contrast")
    assert refused.exit_code == 2
    assert "use method.vector=reading, or model.chat_template=false" in " ".join(refused.stderr.split())
    chat("train-offsets", "method=repe", "method.vector=contrast", "method.layers=[1]", "hydra.run.dir=made")
    refused = lofit("evaluate", "model.id=chat", *CHAT, "intervention=made")
    assert "use method.vector=reading, or model.chat_template=false" in " ".join(refused.stderr.split())


WITHOUT_WEIGHTS = {
    "a model without a template": (
        (*CHAT, "task=truthfulqa", "task.data_dir=data"),
        "model.chat_template=true needs a tokenizer with a chat template, and model 'plain' has none",
    ),
    "a conversation without the template": (
        ("task=file", "task.data_dir=turns.jsonl"),
        "is a conversation; set model.chat_template=true, with a model that was trained to chat",
    ),
}


@pytest.mark.parametrize("case", WITHOUT_WEIGHTS)
@pytest.mark.parametrize("stage", ["select-heads", "train-offsets", "evaluate"])
def test_what_can_not_be_asked_is_refused_before_any_weight_is_read(lofit, case, stage):
    build_model("llama").config.save_pretrained("plain")
    build_tokenizer().save_pretrained("plain")
    turn = {"chosen": [{"role": "assistant", "content": "so"}], "rejected": [{"role": "assistant", "content": "no"}]}
    rows = [{"prompt": [{"role": "user", "content": f"Why {i}?"}], **turn} for i in range(20)]
    Path("turns.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings, words = WITHOUT_WEIGHTS[case]
    given = {"train-offsets": ("method=bitfit",), "evaluate": ("intervention=none",)}.get(stage, ())
    result = lofit.alone(stage, "model=hub", "model.id=plain", *settings, *given)
    assert result.exit_code == 2
    assert words in " ".join(result.stderr.split())
