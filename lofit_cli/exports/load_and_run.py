"""A program of its own that loads an export as a stranger would, with no code of lofit, and runs it on given tokens.

python load_and_run.py JOB.json writes what it computed beside JOB.json; `proof.py` says what a job holds.
"""

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoTokenizer,
)
from transformers.utils import logging

Job = dict[str, Any]
Acting = dict[str, int]
"""`first`: the index in a sequence from which on an edit acts."""


def load_stock(source: str, job: Job) -> tuple[nn.Module, list[str]]:
    """Return a model as transformers loads it, and the names of weights that were missing, left over or misshapen."""
    options: dict[str, Any] = {"trust_remote_code": False, "revision": job["revision"] or "main"}
    config = AutoConfig.from_pretrained(source, **options)
    reader: Any = AutoModelForCausalLM if type(config) in MODEL_FOR_CAUSAL_LM_MAPPING else AutoModelForImageTextToText
    dtype = getattr(torch, job["dtype"])
    model, report = reader.from_pretrained(
        source, dtype=dtype, device_map={"": job["device"]}, output_loading_info=True, **options
    )
    kinds = ("missing_keys", "unexpected_keys", "mismatched_keys")
    return model.eval(), [str(key) for kind in kinds for key in report[kind]]


def load_weights(job: Job, acting: Acting) -> tuple[nn.Module, list[str]]:
    """Return a checkpoint."""
    return load_stock(job["folder"], {**job, "revision": None})


def load_adapter(job: Job, acting: Acting) -> tuple[nn.Module, list[str]]:
    """Return the base with an adapter of the peft library."""
    from peft import PeftModel

    model, _ = load_stock(job["base"], job)
    return PeftModel.from_pretrained(model, job["folder"]).eval(), []


def load_vectors(job: Job, acting: Acting) -> tuple[nn.Module, list[str]]:
    """Return the base with the numbers of a folder of vectors added where its JSON says."""
    model, _ = load_stock(job["base"], job)
    about = json.loads(Path(job["folder"], "vector.json").read_text(encoding="utf-8"))
    values = load_file(Path(job["folder"], "vector.safetensors"), device=job["device"])
    everywhere = about["positions"] == "all"
    for layer, place in about["layers"].items():
        module = model.get_submodule(place["module"])
        named = {name: value for name, value in values.items() if name.startswith(f"layer.{layer}.")}
        if about["kind"] == "head_edit":
            hook = partial(_edit_heads, place, named, acting, everywhere)
            module.register_forward_pre_hook(hook)
        else:
            (vector,) = named.values()
            module.register_forward_hook(partial(_add_after, vector, acting, everywhere))
    return model, []


def load_control_vector(job: Job, acting: Acting) -> tuple[nn.Module, list[str]]:
    """Return the base with the directions of a GGUF file added after its layers, as llama.cpp adds them."""
    from gguf import GGUFReader

    model, _ = load_stock(job["base"], job)
    for tensor in GGUFReader(str(Path(job["folder"], "control_vector.gguf"))).tensors:
        layer = tensor.name.removeprefix("direction.")
        vector = torch.tensor(tensor.data.copy(), device=job["device"])
        module = model.get_submodule(job["layer_paths"][layer])
        module.register_forward_hook(partial(_add_after, vector, acting, True))
    return model, []


LOADERS: dict[str, Callable[[Job, Acting], tuple[nn.Module, list[str]]]] = {
    "weights": load_weights,
    "adapter": load_adapter,
    "vectors": load_vectors,
    "control_vector": load_control_vector,
}


def _edit_heads(place: Any, named: Any, acting: Acting, everywhere: bool, module: nn.Module, args: Any) -> Any:
    activations: Tensor = args[0]
    heads = activations.clone().view(*activations.shape[:2], place["num_heads"], place["head_dim"])
    first = 0 if everywhere else acting["first"]
    for head in place["heads"]:
        scale, offset = (named.get(f"layer.{place['layer']}.head.{head}.{part}") for part in ("scale", "offset"))
        values = heads[:, first:, head]
        values = values if scale is None else values * (1 + scale)
        heads[:, first:, head] = values if offset is None else values + offset
    return (heads.view_as(activations), *args[1:])


def _add_after(vector: Tensor, acting: Acting, everywhere: bool, module: nn.Module, args: Any, output: Any) -> Any:
    hidden = (output[0] if isinstance(output, tuple | list) else output).clone()
    hidden[:, 0 if everywhere else acting["first"] :] += vector
    if isinstance(output, tuple):
        return (hidden, *output[1:])
    return [hidden, *output[1:]] if isinstance(output, list) else hidden


def main(file: Path) -> None:
    """Run a job and write what came of it."""
    logging.set_verbosity_error()
    job: Job = json.loads(file.read_text(encoding="utf-8"))
    torch.set_num_threads(job["num_threads"])
    acting: Acting = {"first": 0}
    model, problems = LOADERS[job["kind"]](job, acting)
    made: dict[str, Tensor] = {}
    greedy = []
    with torch.inference_mode():
        for i, text in enumerate(job["texts"]):
            acting["first"] = text["start"] - 1
            logits = model(input_ids=torch.tensor([text["tokens"]], device=job["device"])).logits[0].float()
            logprobs = logits[:-1].log_softmax(-1)
            wanted = torch.tensor(text["tokens"][1:], device=job["device"])
            made[f"tokens.{i}"] = logprobs.gather(1, wanted[:, None])[:, 0].cpu().contiguous()
            made[f"last.{i}"] = logits[-1].log_softmax(-1).cpu().contiguous()
        for prompt in job["prompts"]:
            acting["first"], tokens = len(prompt) - 1, list(prompt)
            for _ in range(job["num_new_tokens"]):
                logits = model(input_ids=torch.tensor([tokens], device=job["device"])).logits[0, -1]
                tokens.append(int(logits.argmax()))
            greedy.append(tokens[len(prompt) :])
    strings: Any = {}
    if job["kind"] == "weights":
        tokenizer = AutoTokenizer.from_pretrained(job["folder"])
        strings = {"strings": job["strings"], "ids": [tokenizer(string)["input_ids"] for string in job["strings"]]}
    save_file(made, file.with_name("made.safetensors"))
    found = {"greedy": greedy, "problems": problems, **strings}
    file.with_name("made.json").write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
