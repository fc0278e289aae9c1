"""The small models: their shapes as `config.json` says them, and their random weights.

Weights are scaled so that logits have a standard deviation of a few units and layers outweigh the embedding in the
residual stream: greedy decoding then wanders through the vocabulary instead of repeating a token.
"""

from dataclasses import dataclass

import numpy as np

VOCABULARY = 288


@dataclass(frozen=True)
class Case:
    """One folder under `cases/`: `config` as Hugging Face writes it, and how the weights are stored."""

    name: str
    config: dict
    seed: int
    # Safetensors: "F32", "F16" or "BF16", in this many files. GGUF: see `gguf_files.py`.
    stored: str = "F32"
    files: int = 1


def base(architecture: str, model_type: str, **changes) -> dict:
    config = {
        "architectures": [architecture],
        "attention_bias": False,
        "bos_token_id": 285,
        "eos_token_id": 287,
        "head_dim": 32,
        "hidden_act": "silu",
        "hidden_size": 64,
        "intermediate_size": 96,
        "max_position_embeddings": 512,
        "model_type": model_type,
        "num_attention_heads": 4,
        "num_hidden_layers": 3,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-6,
        "rope_scaling": None,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
        "vocab_size": VOCABULARY,
    }
    return config | changes


def qwen3(**changes) -> dict:
    return base("Qwen3ForCausalLM", "qwen3", **{"use_sliding_window": False, "rope_theta": 1000000.0} | changes)


def qwen3_moe(**changes) -> dict:
    moe = {
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
        "moe_intermediate_size": 32,
        "norm_topk_prob": True,
        "num_experts": 8,
        "num_experts_per_tok": 2,
        "num_hidden_layers": 2,
        "use_sliding_window": False,
    }
    return base("Qwen3MoeForCausalLM", "qwen3_moe", **moe | changes)


def llama(**changes) -> dict:
    return base("LlamaForCausalLM", "llama", **{"head_dim": 16, "rms_norm_eps": 1e-5, "mlp_bias": False} | changes)


# As in Llama 3.1, for a model that was trained on 32 tokens: of 8 frequencies 1 stays, 1 is between, 6 are divided.
LLAMA3_SCALING = {
    "factor": 8.0,
    "high_freq_factor": 4.0,
    "low_freq_factor": 1.0,
    "original_max_position_embeddings": 32,
    "rope_type": "llama3",
}


def without(config: dict, *names: str) -> dict:
    return {name: value for name, value in config.items() if name not in names}


SAFETENSORS = [
    Case("qwen3", qwen3(tie_word_embeddings=True, num_hidden_layers=2), seed=1),
    Case("qwen3-untied-bf16", qwen3(torch_dtype="bfloat16"), seed=2, stored="BF16", files=3),
    # The other style of `config.json`, which transformers 5 writes.
    Case(
        "qwen3-f16",
        without(qwen3(dtype="float16"), "rope_scaling", "rope_theta", "torch_dtype")
        | {"rope_parameters": {"rope_theta": 1000000.0, "rope_type": "default"}},
        seed=3,
        stored="F16",
    ),
    Case("qwen3-moe", qwen3_moe(moe_intermediate_size=24), seed=4),
    Case(
        "qwen3-moe-mixed",
        qwen3_moe(
            mlp_only_layers=[1],
            norm_topk_prob=False,
            num_hidden_layers=3,
            tie_word_embeddings=True,
            torch_dtype="bfloat16",
        ),
        seed=5,
        stored="BF16",
    ),
    Case("llama", llama(num_hidden_layers=2, rope_scaling=LLAMA3_SCALING), seed=6),
    # `type` is how files before transformers 4.43 call `rope_type`; they have no `head_dim` either.
    Case(
        "llama-tied-linear",
        without(llama(rope_scaling={"factor": 2.0, "type": "linear"}, tie_word_embeddings=True), "head_dim"),
        seed=7,
    ),
    Case(
        "qwen3-yarn",
        qwen3(
            max_position_embeddings=256,
            num_hidden_layers=2,
            rope_theta=10000.0,
            rope_scaling={"factor": 4.0, "original_max_position_embeddings": 64, "rope_type": "yarn"},
        ),
        seed=8,
    ),
]

# Rows of K-quants are whole blocks of 256 weights.
WIDE = {"hidden_size": 256, "intermediate_size": 256, "num_hidden_layers": 2, "head_dim": 64}

GGUF = [
    Case("qwen3-q8_0", qwen3(tie_word_embeddings=True, num_hidden_layers=2), seed=11),
    Case("qwen3-q4_k", qwen3(tie_word_embeddings=True, **WIDE), seed=12),
    Case("llama-q8_0", llama(num_hidden_layers=2), seed=13),
    Case("llama-q4_k", llama(rope_scaling={"factor": 2.0, "rope_type": "linear"}, **WIDE), seed=14),
    Case("llama-q4_k_m", llama(rope_scaling=LLAMA3_SCALING, tie_word_embeddings=True, **WIDE), seed=15),
    Case("qwen3moe-q8_0", qwen3_moe(), seed=16),
]


def shapes(config: dict) -> dict[str, tuple[int, ...]]:
    """Every tensor of the model by its Hugging Face name, in the order of a checkpoint."""
    hidden, vocabulary = config["hidden_size"], config["vocab_size"]
    head = config.get("head_dim", hidden // config["num_attention_heads"])
    queries, keys = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    found = {"model.embed_tokens.weight": (vocabulary, hidden)}
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        found[f"{at}.input_layernorm.weight"] = (hidden,)
        found[f"{at}.self_attn.q_proj.weight"] = (queries, hidden)
        found[f"{at}.self_attn.k_proj.weight"] = (keys, hidden)
        found[f"{at}.self_attn.v_proj.weight"] = (keys, hidden)
        found[f"{at}.self_attn.o_proj.weight"] = (hidden, queries)
        if config["model_type"].startswith("qwen3"):
            found[f"{at}.self_attn.q_norm.weight"] = (head,)
            found[f"{at}.self_attn.k_norm.weight"] = (head,)
        found[f"{at}.post_attention_layernorm.weight"] = (hidden,)
        sparse = "num_experts" in config and layer not in config["mlp_only_layers"]
        blocks = {f"{at}.mlp": config["intermediate_size"]}
        if sparse:
            found[f"{at}.mlp.gate.weight"] = (config["num_experts"], hidden)
            experts = range(config["num_experts"])
            blocks = {f"{at}.mlp.experts.{expert}": config["moe_intermediate_size"] for expert in experts}
        for block, wide in blocks.items():
            found[f"{block}.gate_proj.weight"] = (wide, hidden)
            found[f"{block}.up_proj.weight"] = (wide, hidden)
            found[f"{block}.down_proj.weight"] = (hidden, wide)
    found["model.norm.weight"] = (hidden,)
    if not config["tie_word_embeddings"]:
        found["lm_head.weight"] = (vocabulary, hidden)
    return found


# The standard deviation of what a layer puts out for inputs of standard deviation 1.
GAINS = {
    "q_proj": 2.0,
    "k_proj": 2.0,
    "v_proj": 2.0,
    "o_proj": 5.0,
    "mlp.gate": 2.0,
    "gate_proj": 1.5,
    "up_proj": 1.5,
    "down_proj": 5.0,
    "lm_head": 6.0,
    # A tied embedding is the head, too.
    "embed_tokens": 5.0,
}


def weights(case: Case) -> dict[str, np.ndarray]:
    """Random weights in f32. Groups of 32 columns differ in scale, as quantized blocks of real models do."""
    random = np.random.default_rng(case.seed)
    found = {}
    for name, shape in shapes(case.config).items():
        values = random.standard_normal(shape, dtype=np.float32)
        if len(shape) == 1:
            # Larger weights after queries and keys make attention look at few tokens.
            middle = 1.8 if "q_norm" in name or "k_norm" in name else 1.0
            found[name] = np.float32(middle) + np.float32(0.25) * values
            continue
        gain = next(gain for part, gain in GAINS.items() if f"{part}.weight" in name)
        groups = random.uniform(0.4, 1.5, (shape[0], -(-shape[1] // 32))).astype(np.float32)
        values *= np.repeat(groups, 32, axis=1)[:, : shape[1]]
        found[name] = values * np.float32(gain / np.sqrt(shape[1]))
    return found
