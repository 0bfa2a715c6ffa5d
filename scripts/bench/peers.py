"""The peers, as their own users call them: plain transformers, lm-eval's HF backend, and TRL's trainer with PEFT."""

import copy
import gc
import tempfile
import warnings
from collections.abc import Sequence
from typing import Any

import datasets
import peft
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.trainer_callback import PrinterCallback
from transformers.utils import logging
from trl import DPOConfig, DPOTrainer

from lofit_cli.schema.components import TrainerConfig

Texts = Sequence[tuple[str, Sequence[str]]]
"""Prompts, each with its answers."""

SCALES = {"target_modules": ["o_proj"], "feedforward_modules": ["o_proj"]}
"""IA3 of a map that it takes for one of the feed-forward network scales the map's input: here all head activations."""
LM_EVAL_BATCH = 8


@torch.inference_mode()
def score_one_by_one(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Texts) -> list[list[float]]:
    """Score each answer with a forward pass of its own over the whole text, with logits at all positions.

    So do the released scorers of ITI and of LoFiT's authors.
    """
    return [[_score_text(model, tokenizer, prompt, answer) for answer in answers] for prompt, answers in texts]


def _score_text(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompt: str, answer: str) -> float:
    tokens = tokenizer(prompt + answer, return_tensors="pt").input_ids.to(model.device)
    start = len(tokenizer(prompt).input_ids)
    log_probs = model(tokens).logits[0].log_softmax(dim=-1)
    return float(log_probs[start - 1 : -1].gather(-1, tokens[0, start:, None]).float().sum())


class Harness:
    """lm-eval's HF backend around a model that is there already."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        from lm_eval.api.instance import Instance
        from lm_eval.models.huggingface import HFLM

        self.instance = Instance
        self.backend: Any = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=LM_EVAL_BATCH)

    def score(self, texts: Texts) -> list[list[float]]:
        """Score each answer as a `loglikelihood` request."""
        asked = [(prompt, answer) for prompt, answers in texts for answer in answers]
        requests = [
            self.instance(request_type="loglikelihood", doc={}, arguments=pair, idx=index)
            for index, pair in enumerate(asked)
        ]
        found = iter(self.backend.loglikelihood(requests, disable_tqdm=True))
        return [[next(found)[0] for _ in answers] for _, answers in texts]

    def write_lines(self, prompts: Sequence[str], num_tokens: int) -> list[str]:
        """Answer each prompt as a `generate_until` request that ends with the line."""
        how = {"until": ["\n"], "do_sample": False, "max_gen_toks": num_tokens}
        requests = [
            self.instance(request_type="generate_until", doc={}, arguments=(prompt, how), idx=index)
            for index, prompt in enumerate(prompts)
        ]
        return list(self.backend.generate_until(requests, disable_tqdm=True))


class Trainer:
    """TRL's DPO trainer over a copy of the model with a PEFT adapter, ready to train.

    It computes its own reference by taking the adapter away, as it does by default. Checkpointing of activations is its
    default as well.

    Attributes:
        losses: of each step, of training alone.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        rows: list[dict[str, str]],
        adapter: peft.PeftConfig,
        settings: TrainerConfig,
        checkpointing: bool,
    ) -> None:
        datasets.disable_progress_bars()
        logging.set_verbosity_error()
        # TRL and transformers tell each other that names have changed.
        warnings.filterwarnings("ignore", category=FutureWarning, module=r"transformers\.")
        self.losses: list[Tensor] = []
        self.folder = tempfile.TemporaryDirectory()
        self.trainer: Any = DPOTrainer(
            copy.deepcopy(model),
            args=self._arguments(settings, -(-len(rows) // settings.batch_size), checkpointing),
            train_dataset=datasets.Dataset.from_list(rows),
            processing_class=copy.deepcopy(tokenizer),
            peft_config=adapter,
        )
        self.trainer.remove_callback(PrinterCallback)
        self._loss = self.trainer.compute_loss
        self.trainer.compute_loss = self._note_loss

    def _arguments(self, settings: TrainerConfig, num_steps: int, checkpointing: bool) -> DPOConfig:
        return DPOConfig(
            self.folder.name,
            beta=settings.beta,
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
            max_grad_norm=settings.max_grad_norm,
            lr_scheduler_type="linear",
            optim="adamw_torch",
            per_device_train_batch_size=settings.batch_size,
            max_steps=num_steps,
            train_sampling_strategy="sequential",
            gradient_checkpointing=checkpointing,
            use_cpu=True,
            bf16=False,
            logging_strategy="no",
            save_strategy="no",
            eval_strategy="no",
            report_to=[],
            disable_tqdm=True,
            dataloader_pin_memory=False,
        )

    def _note_loss(self, *args: Any, **options: Any) -> Tensor:
        loss: Tensor = self._loss(*args, **options)
        self.losses.append(loss.detach())
        return loss

    def start_from(self, values: Tensor) -> None:
        """Give the adapter's vectors these numbers, layer after layer."""
        weights = [weight for weight in self.trainer.model.parameters() if weight.requires_grad]
        for weight, part in zip(weights, values.flatten().split([w.numel() for w in weights]), strict=True):
            weight.data.copy_(part.view_as(weight))

    def first_references(self) -> Tensor:
        """Return the base model's log-probabilities of the first batch: (2, pairs), chosen and rejected."""
        batch = next(iter(self.trainer.get_train_dataloader()))
        return torch.stack(self.trainer.compute_ref_log_probs(self.trainer.model, batch))

    def train(self) -> None:
        """Take all steps."""
        self.trainer.train()

    def close(self) -> None:
        """Remove the folder that TRL was given, and the copy of the model, which the trainer holds in circles."""
        self.folder.cleanup()
        del self.trainer, self._loss
        gc.collect()
