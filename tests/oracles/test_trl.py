"""Our DPO against TRL's trainer: the same loss and the same gradient of an edit, in fp32."""

import pytest
import torch
from datasets import Dataset
from tiny_models import build_language_model, edit_all_heads, random_values

from lofit_cli.models.logprobs import answer_logprobs, tokenize_items
from lofit_cli.training.losses import dpo_loss

PAIRS = [
    ("Q: one?\nA:", " the number 7.", " No."),
    ("A longer prompt. Q: two?\nA:", " Yes.", " the answer is 8."),
    ("Q: a third?\nA:", " N.", " number."),
]


def batch_of_trl(lm, folder, beta):
    """Return TRL's trainer and the one batch of all pairs, its reference log-probabilities computed by TRL."""
    trl = pytest.importorskip("trl")
    options = {"bf16": False, "gradient_checkpointing": False, "use_cpu": True, "report_to": []}
    arguments = trl.DPOConfig(
        str(folder), beta=beta, per_device_train_batch_size=len(PAIRS), precompute_ref_log_probs=True, **options
    )
    rows = [{"prompt": prompt, "chosen": chosen, "rejected": rejected} for prompt, chosen, rejected in PAIRS]
    lm.model.requires_grad_(True)
    trainer = trl.DPOTrainer(
        lm.model, args=arguments, train_dataset=Dataset.from_list(rows), processing_class=lm.tokenizer
    )
    return trainer, next(iter(trainer.get_train_dataloader()))


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen3"])
def test_dpo_loss_and_gradient_are_trls(family, tmp_path):
    lm = build_language_model(family, max_row_tokens=1000)
    edit = edit_all_heads(random_values(lm.geometry, 1), random_values(lm.geometry, 2))
    items = tokenize_items(lm, [(prompt, answers) for prompt, *answers in PAIRS], append_eos=True)
    sequences = [sequence for item in items for sequence in item]
    with torch.no_grad():
        reference = answer_logprobs(lm, sequences).view(-1, 2)
    with edit.attach(lm):
        scores = answer_logprobs(lm, sequences).view(-1, 2)
    ours = torch.stack([dpo_loss(s, r, 1, 0.5) for s, r in zip(scores, reference, strict=True)]).mean()
    expected_gradients = torch.autograd.grad(ours, list(edit.parameters()))

    trainer, batch = batch_of_trl(lm, tmp_path, beta=0.5)
    model = lm.model.eval()
    with edit.attach(lm):
        theirs = trainer.compute_loss(model, batch)
    gradients = torch.autograd.grad(theirs, list(edit.parameters()))
    assert float(ours.detach()) == pytest.approx(float(theirs.detach()), abs=1e-5)
    for found, expected in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
