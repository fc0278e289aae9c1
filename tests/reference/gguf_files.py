"""GGUF files as llama.cpp's `convert_hf_to_gguf.py` and `llama-quantize` lay them out, and the way back.

`gguf` decodes K-quants and does not encode them; the encoders here are plain: the scale of a group is set by its
extremes, without llama.cpp's search for a better one. What they write is checked with `gguf`'s decoder.
"""

import re
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type

from cases import Case

FILE_TYPES = {
    "q8_0": gguf.LlamaFileType.MOSTLY_Q8_0,
    "q4_k": gguf.LlamaFileType.MOSTLY_Q4_K_S,
    "q4_k_m": gguf.LlamaFileType.MOSTLY_Q4_K_M,
}

# Types of `token_embd.weight` that differ from the file's own.
EMBEDDINGS = {"llama-q8_0": Type.F16, "llama-q4_k": Type.F16, "qwen3moe-q8_0": Type.F32, "llama-q4_k_m": Type.Q6_K}

PARTS = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate": "ffn_gate_inp",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
OUTSIDE = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
EXPERTS = {"gate_proj": "ffn_gate_exps", "up_proj": "ffn_up_exps", "down_proj": "ffn_down_exps"}


def pairs_first(rows: np.ndarray, heads: int) -> np.ndarray:
    """llama.cpp turns neighbouring rows of a head, Hugging Face row i and row i + half: (2, half) to (half, 2)."""
    return rows.reshape(heads, 2, -1, rows.shape[1]).swapaxes(1, 2).reshape(rows.shape)


def halves_first(rows: np.ndarray, heads: int) -> np.ndarray:
    """Undoes `pairs_first`."""
    return rows.reshape(heads, -1, 2, rows.shape[1]).swapaxes(1, 2).reshape(rows.shape)


def rotated_heads(config: dict, name: str) -> int | None:
    """How many heads `name` has whose rows GGUF orders otherwise; None if it keeps their order."""
    if config["model_type"] != "llama":
        return None
    if name.endswith("attn_q.weight"):
        return config["num_attention_heads"]
    return config["num_key_value_heads"] if name.endswith("attn_k.weight") else None


def to_gguf(config: dict, tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Names, shapes and row order of GGUF: the experts of a layer are one tensor."""
    found: dict[str, np.ndarray] = {}
    stacks: dict[str, list[np.ndarray]] = {}
    for name, values in tensors.items():
        if name in OUTSIDE:
            found[OUTSIDE[name]] = values
        elif expert := re.fullmatch(r"model\.layers\.(\d+)\.mlp\.experts\.\d+\.(\w+)\.weight", name):
            stacks.setdefault(f"blk.{expert[1]}.{EXPERTS[expert[2]]}.weight", []).append(values)
        else:
            layer, part = re.fullmatch(r"model\.layers\.(\d+)\.(.+)\.weight", name).groups()
            found[f"blk.{layer}.{PARTS[part]}.weight"] = values
    for name, values in found.items():
        if heads := rotated_heads(config, name):
            found[name] = pairs_first(values, heads)
    return found | {name: np.stack(experts) for name, experts in stacks.items()}


def from_gguf(config: dict, tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Undoes `to_gguf`."""
    outside = {short: name for name, short in OUTSIDE.items()}
    parts = {short: part for part, short in PARTS.items()}
    experts = {short: part for part, short in EXPERTS.items()}
    found = {}
    for name, values in tensors.items():
        if name in outside:
            found[outside[name]] = values
            continue
        if name == "rope_freqs.weight":
            continue
        layer, part = re.fullmatch(r"blk\.(\d+)\.(\w+)\.weight", name).groups()
        if part in experts:
            for expert, rows in enumerate(values):
                found[f"model.layers.{layer}.mlp.experts.{expert}.{experts[part]}.weight"] = rows
            continue
        if heads := rotated_heads(config, name):
            values = halves_first(values, heads)
        found[f"model.layers.{layer}.{parts[part]}.weight"] = values
    return found


def type_of(case: Case, name: str, values: np.ndarray) -> Type:
    """The type `llama-quantize` gives a tensor, but for the embeddings listed above."""
    kind = case.name.split("-")[1]
    if values.ndim == 1 or "ffn_gate_inp" in name:
        return Type.F32
    if name == "token_embd.weight" and case.name in EMBEDDINGS:
        return EMBEDDINGS[case.name]
    if kind == "q8_0":
        return Type.Q8_0
    # Q4_K_M gives values and down projections more bits in some layers: of two, in the last.
    more = re.fullmatch(r"blk\.1\.(attn_v|ffn_down)\.weight", name)
    return Type.Q6_K if kind == "q4_k_m" and more else Type.Q4_K


def encode(values: np.ndarray, kind: Type) -> np.ndarray:
    if kind not in (Type.Q4_K, Type.Q6_K):
        return gguf.quantize(values, kind)
    blocks = values.astype(np.float32).reshape(-1, 256)
    encoded, within = (q4_k(blocks), 0.06) if kind == Type.Q4_K else (q6_k(blocks), 0.03)
    # A group's range is its scale's; the half a step and the scale's own rounding are some percent of it.
    decoded = gguf.dequantize(encoded, kind)
    span = np.abs(blocks).max(axis=1, keepdims=True) * 2
    assert (np.abs(decoded - blocks) <= within * span).all(), "what was encoded is not what gguf decodes"
    return encoded.reshape(*values.shape[:-1], -1)


def inverse(values: np.ndarray) -> np.ndarray:
    return np.divide(1.0, values, out=np.zeros_like(values), where=values != 0)


def halves(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """f16 as bytes, and as the f32 that a decoder sees."""
    rounded = values.astype(np.float16)
    return rounded.view(np.uint8), rounded.astype(np.float32)


def q4_k(blocks: np.ndarray) -> np.ndarray:
    """(n, 256) to (n, 144): f16 d and dmin, 8 scales and 8 minima of 6 bits, 4 bits a weight: d·sc·q - dmin·m."""
    groups = blocks.reshape(-1, 8, 32)
    lowest = np.minimum(groups.min(axis=2), 0.0)
    scales = (groups.max(axis=2) - lowest) / 15.0
    d_bytes, d = halves(scales.max(axis=1, keepdims=True) / 63.0)
    dmin_bytes, dmin = halves((-lowest).max(axis=1, keepdims=True) / 63.0)
    sc = np.clip(np.rint(scales * inverse(d)), 0, 63).astype(np.uint8)
    m = np.clip(np.rint(-lowest * inverse(dmin)), 0, 63).astype(np.uint8)
    step, low = (d * sc)[..., None], (dmin * m)[..., None]
    q = np.clip(np.rint((groups + low) * inverse(step)), 0, 15).astype(np.uint8)
    # The first four have 6 bits of a byte; of the others, 4 bits share a byte and 2 are above the first ones.
    packed = np.concatenate(
        [
            sc[:, :4] | (sc[:, 4:] >> 4) << 6,
            m[:, :4] | (m[:, 4:] >> 4) << 6,
            (sc[:, 4:] & 15) | (m[:, 4:] & 15) << 4,
        ],
        axis=1,
    )
    nibbles = q[:, 0::2] | q[:, 1::2] << 4
    return np.concatenate([d_bytes, dmin_bytes, packed, nibbles.reshape(-1, 128)], axis=1)


def q6_k(blocks: np.ndarray) -> np.ndarray:
    """(n, 256) to (n, 210): low 4 bits, high 2 bits, 16 signed scales of 8 bits, f16 d: d·sc·(q - 32)."""
    groups = blocks.reshape(-1, 16, 16)
    at = np.abs(groups).argmax(axis=2)[..., None]
    # The largest weight becomes -32, the one end that is a step further out: half of the scales are negative.
    scales = np.take_along_axis(groups, at, axis=2)[..., 0] / -32.0
    d_bytes, d = halves(np.abs(scales).max(axis=1, keepdims=True) / 127.0)
    sc = np.clip(np.rint(scales * inverse(d)), -127, 127)
    q = np.clip(np.rint(groups * inverse(d * sc)[..., None]), -32, 31).astype(np.int8) + 32
    q = q.astype(np.uint8).reshape(-1, 2, 4, 32)
    low = (q[:, :, :2] & 15) | (q[:, :, 2:] & 15) << 4
    high = q[:, :, 0] >> 4 | q[:, :, 1] >> 4 << 2 | q[:, :, 2] >> 4 << 4 | q[:, :, 3] >> 4 << 6
    scale_bytes = sc.astype(np.int8).view(np.uint8)
    return np.concatenate([low.reshape(-1, 128), high.reshape(-1, 64), scale_bytes, d_bytes], axis=1)


def frequency_factors(config: dict) -> np.ndarray | None:
    """What each RoPE frequency is divided by under "llama3" scaling; GGUF keeps that as a tensor, not as metadata."""
    scaling = config["rope_scaling"]
    if scaling is None or scaling["rope_type"] != "llama3":
        return None
    low, high, factor = scaling["low_freq_factor"], scaling["high_freq_factor"], scaling["factor"]
    head = config["head_dim"]
    turns = scaling["original_max_position_embeddings"] * config["rope_theta"] ** -(np.arange(0, head, 2) / head)
    kept = np.clip((turns / (2 * np.pi) - low) / (high - low), 0.0, 1.0)
    return (1.0 / ((1.0 - kept) / factor + kept)).astype(np.float32)


def write(case: Case, tensors: dict[str, np.ndarray], path: Path) -> None:
    config = case.config
    architecture = {"qwen3": "qwen3", "qwen3_moe": "qwen3moe", "llama": "llama"}[config["model_type"]]
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_type("model")
    writer.add_name(case.name)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    if architecture == "qwen3moe":
        writer.add_expert_count(config["num_experts"])
        writer.add_expert_used_count(config["num_experts_per_tok"])
        writer.add_expert_feed_forward_length(config["moe_intermediate_size"])
    if architecture == "llama":
        writer.add_vocab_size(config["vocab_size"])
        writer.add_rope_dimension_count(config["head_dim"])
    scaling = config["rope_scaling"]
    if scaling is not None and scaling["rope_type"] == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(scaling["factor"])
    writer.add_file_type(FILE_TYPES[case.name.split("-")[1]])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    write_tokenizer(writer, config)
    factors = frequency_factors(config)
    if factors is not None:
        writer.add_tensor("rope_freqs.weight", factors)
    for name, values in to_gguf(config, tensors).items():
        kind = type_of(case, name, values)
        writer.add_tensor(name, encode(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def read(case: Case, path: Path) -> dict[str, np.ndarray]:
    """The weights of a file in f32, under their Hugging Face names."""
    found = {}
    for tensor in gguf.GGUFReader(path).tensors:
        shape = [int(size) for size in reversed(tensor.shape)]
        found[tensor.name] = gguf.dequantize(tensor.data, tensor.tensor_type).reshape(shape)
    return from_gguf(case.config, found)


MERGES = (
    "t h,i n,e r,a n,o n,th e,r e,e n,a t,in g,o r,i s,e s,an d,Ġ the,Ġ t,Ġ and,o u,e d,i t,a l,Ġ a,Ġ i,at i,ati on,"
    "l l,s t,c h,Ġ Ġ"
).split(",")
SPECIAL = ["<|begin|>", "<|turn|>", "<|end|>"]


def tokens() -> list[str]:
    """256 bytes as byte-level BPE spells them, one token a merge, three special tokens: 288."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in shown]
    letters = {byte: chr(byte) for byte in shown} | {byte: chr(256 + at) for at, byte in enumerate(hidden)}
    return [letters[byte] for byte in range(256)] + [merge.replace(" ", "") for merge in MERGES] + SPECIAL


def write_tokenizer(writer: gguf.GGUFWriter, config: dict) -> None:
    spelled = tokens()
    assert len(set(spelled)) == config["vocab_size"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe" if config["model_type"] == "llama" else "qwen2")
    writer.add_token_list(spelled)
    control = len(spelled) - len(SPECIAL)
    kinds = [gguf.TokenType.CONTROL if at >= control else gguf.TokenType.NORMAL for at in range(len(spelled))]
    writer.add_token_types(kinds)
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_add_bos_token(False)
