"""What engines do with a bias that a checkpoint has and its family usually has not, as read in their source.

vLLM 0.33.0, SGLang 0.5.23 and the llama.cpp of llama-cpp-python 0.3.36; only llama.cpp was run (on llama, granite,
starcoder2, qwen3, smollm3, olmo2 and seed_oss). Keys are model types of transformers.
"""

from collections.abc import Collection


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


VLLM_READS = _names("llama gemma2 gemma3 gemma3_text granite gpt2 opt bloom phimoe gpt_oss nemotron apertus falcon")
VLLM_BY_TRANSFORMERS = _names(
    "olmo olmo2 olmo3 phi starcoder2 gpt_neox gpt_bigcode smollm3 seed_oss arcee jais2 glm hunyuan_v1_dense"
)
VLLM_REFUSES = _names("qwen3 qwen3_moe gemma qwen2 mixtral cohere glm4 granitemoe olmoe stablelm ernie4_5")
SGLANG_READS = _names("llama gemma2 gemma3 gemma3_text qwen3 qwen3_moe olmo olmo2 gpt2 apertus starcoder2 phi")
SGLANG_SKIPS = _names("gemma qwen2 mixtral cohere glm4 granite")
LLAMA_CPP_OUTPUT_BIAS = _names(
    "llama granite granitemoe minicpm nemotron apertus gpt2 gpt_neox phi phimoe bloom gpt_bigcode starcoder2 gpt_oss"
)
LLAMA_CPP_ALL_BIASES = _names("llama gpt2")
LLAMA_CPP_SKIPS = _names("ernie4_5 falcon_h1")
LLAMA_CPP_DOWN_BIAS = _names("llama granite granitemoe nemotron minicpm mpt starcoder2")
OUTPUT_MAPS = _names("o_proj out_proj dense")
VALUES = _names("v_proj")
NOT_RUN = "This was read in their source, not run; compare with the log-probabilities in lofit_export.json."


def describe_engines(model_type: str, new_biases: Collection[str]) -> list[str]:
    """Return a sentence for each engine on what it makes of new biases, given the names of the maps that have them."""
    if not new_biases:
        return ["It has no bias that the base has not: engines read it as they read the base."]
    if set(new_biases) <= VALUES:
        return [
            "The offsets are biases of the values, which engines read wherever they read those of q, k and v.",
            "With a KV head for each query head, the cache of keys and values is larger than the base's.",
        ]
    attention = _attention(model_type) if OUTPUT_MAPS & set(new_biases) else []
    return [*attention, *(_mlp(model_type) if set(new_biases) - OUTPUT_MAPS else []), NOT_RUN]


def _attention(model_type: str) -> list[str]:
    return [
        _first(
            (model_type in VLLM_READS, "vLLM 0.33 reads the new biases."),
            (model_type in VLLM_BY_TRANSFORMERS, "vLLM 0.33 runs this class through transformers, which reads biases."),
            (
                model_type in VLLM_REFUSES,
                "vLLM 0.33 has no such bias in this class and refuses the checkpoint, and older versions skip the bias "
                "silently and serve the base model; try --model-impl transformers.",
            ),
            (True, "What vLLM makes of this class was not looked at."),
        ),
        _first(
            (model_type in SGLANG_READS, "SGLang 0.5.23 reads the bias of the attention's output projection."),
            (model_type in SGLANG_SKIPS, "SGLang 0.5.23 skips the biases silently and serves the base model: don't."),
            (True, "What SGLang makes of this class was not looked at."),
        ),
        _first(
            (model_type in LLAMA_CPP_OUTPUT_BIAS, "llama.cpp reads the bias of the attention's output projection."),
            (model_type in LLAMA_CPP_SKIPS, "llama.cpp loads the biases and ignores them silently: don't."),
            (True, "llama.cpp has no such bias in this class, and does not load the file."),
        ),
    ]


def _mlp(model_type: str) -> list[str]:
    if model_type == "llama":
        return [
            "vLLM 0.33 and llama.cpp read the biases of Llama's MLP.",
            "SGLang 0.5.23 has none there and loses them: don't serve this checkpoint with it.",
        ]
    if model_type in LLAMA_CPP_DOWN_BIAS:
        return ["llama.cpp reads the bias of the MLP's output; what vLLM and SGLang make of it was not looked at."]
    return ["What engines make of the new biases in the MLP was not looked at."]


def _first(*cases: tuple[bool, str]) -> str:
    return next(words for holds, words in cases if holds)
