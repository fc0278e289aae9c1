"""Times other engines at the shape of Qwen3-0.6B on a CPU: Hugging Face transformers and llama.cpp.

    python peers.py FOLDER [--engine transformers --weights bf16 --what decode-1 …]

makes what model files are missing in FOLDER (random weights, up to 3 GB) and prints a line of JSON for every figure:

    {"engine": "llama.cpp", "weights": "q8_0", "what": "prefill-128", "value": 301.2, "unit": "tokens/s"}

`prefill-N` is one pass over a prompt of N tokens with the logits of the last one; `decode-B` is a step that adds a
token to each of B sequences, whose prompts had 128 tokens, and picks the next ones greedily. Values are medians over
`--repeats`. With `--interactive`, one engine and one kind of weights stay loaded, and each line of standard input
that names a figure is answered by its line, so that a benchmark can take turns with another engine.
"""

import argparse
import ctypes
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

WEIGHTS = {"transformers": ("bf16", "f32"), "llama.cpp": ("bf16", "q8_0", "q4_k")}
WHATS = ("prefill-128", "prefill-512", "decode-1", "decode-8")
PROMPT = 128
WARM_UP = 2

CONFIG = {
    "architectures": ["Qwen3ForCausalLM"],
    "attention_bias": False,
    "head_dim": 128,
    "hidden_act": "silu",
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "max_position_embeddings": 40960,
    "model_type": "qwen3",
    "num_attention_heads": 16,
    "num_hidden_layers": 28,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-6,
    "rope_scaling": None,
    "rope_theta": 1000000,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "use_sliding_window": False,
    "vocab_size": 151936,
}


def tensors() -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """Name in a checkpoint, name in GGUF, shape."""
    hidden, wide, head = CONFIG["hidden_size"], CONFIG["intermediate_size"], CONFIG["head_dim"]
    queries, keys = head * CONFIG["num_attention_heads"], head * CONFIG["num_key_value_heads"]
    parts = {
        ("input_layernorm", "attn_norm"): (hidden,),
        ("self_attn.q_proj", "attn_q"): (queries, hidden),
        ("self_attn.k_proj", "attn_k"): (keys, hidden),
        ("self_attn.v_proj", "attn_v"): (keys, hidden),
        ("self_attn.o_proj", "attn_output"): (hidden, queries),
        ("self_attn.q_norm", "attn_q_norm"): (head,),
        ("self_attn.k_norm", "attn_k_norm"): (head,),
        ("post_attention_layernorm", "ffn_norm"): (hidden,),
        ("mlp.gate_proj", "ffn_gate"): (wide, hidden),
        ("mlp.up_proj", "ffn_up"): (wide, hidden),
        ("mlp.down_proj", "ffn_down"): (hidden, wide),
    }
    yield "model.embed_tokens.weight", "token_embd.weight", (CONFIG["vocab_size"], hidden)
    for layer in range(CONFIG["num_hidden_layers"]):
        for (long, short), shape in parts.items():
            yield f"model.layers.{layer}.{long}.weight", f"blk.{layer}.{short}.weight", shape
    yield "model.norm.weight", "output_norm.weight", (hidden,)


def random_bf16(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Bits of bf16 between 2^-8 and 2^-4 in magnitude."""
    bits = random.integers(0, 1 << 16, shape, dtype=np.uint16)
    return (bits & 0x807F) | (119 + ((bits >> 7) & 3)) << 7


def random_blocks(random: np.random.Generator, shape: tuple[int, ...], weights: str) -> np.ndarray:
    """Quantized rows as bytes: random but for the scales of a block, which make weights some 0.03 large."""
    block, size, scales = {"q8_0": (32, 34, [0.0004]), "q4_k": (256, 144, [0.0002, 0.0015])}[weights]
    blocks = random.integers(0, 256, (*shape[:-1], shape[-1] // block, size), dtype=np.uint8)
    header = np.array(scales, dtype="<f2").view(np.uint8)
    blocks[..., : len(header)] = header
    return blocks.reshape(*shape[:-1], -1)


def replaced(path: Path, write: Callable[[Path], None]) -> None:
    """Writes a file under another name first: one that is there is whole."""
    beside = path.with_name(path.name + ".tmp")
    write(beside)
    os.replace(beside, path)


def checkpoint(folder: Path) -> Path:
    """A folder as the Hugging Face hub has it, in bf16."""
    import torch
    from safetensors.torch import save_file

    model = folder / "qwen3-0.6b"
    if (model / "model.safetensors").exists():
        return model
    model.mkdir(parents=True, exist_ok=True)
    (model / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
    random = np.random.default_rng(0)
    found = {}
    for name, _, shape in tensors():
        if len(shape) == 1:
            found[name] = torch.ones(shape, dtype=torch.bfloat16)
        else:
            found[name] = torch.from_numpy(random_bf16(random, shape).view(np.int16)).view(torch.bfloat16)
    replaced(model / "model.safetensors", lambda path: save_file(found, path, metadata={"format": "pt"}))
    return model


def gguf_file(folder: Path, weights: str) -> Path:
    import gguf

    model = folder / f"qwen3-0.6b-{weights}.gguf"
    if model.exists():
        return model
    folder.mkdir(parents=True, exist_ok=True)
    kind = gguf.GGMLQuantizationType[weights.upper()]
    file_type = {
        "bf16": gguf.LlamaFileType.MOSTLY_BF16,
        "q8_0": gguf.LlamaFileType.MOSTLY_Q8_0,
        "q4_k": gguf.LlamaFileType.MOSTLY_Q4_K_S,
    }[weights]

    def write(path: Path) -> None:
        writer = gguf.GGUFWriter(path, "qwen3")
        writer.add_name("qwen3-0.6b")
        writer.add_block_count(CONFIG["num_hidden_layers"])
        writer.add_context_length(CONFIG["max_position_embeddings"])
        writer.add_embedding_length(CONFIG["hidden_size"])
        writer.add_feed_forward_length(CONFIG["intermediate_size"])
        writer.add_head_count(CONFIG["num_attention_heads"])
        writer.add_head_count_kv(CONFIG["num_key_value_heads"])
        writer.add_rope_freq_base(CONFIG["rope_theta"])
        writer.add_layer_norm_rms_eps(CONFIG["rms_norm_eps"])
        writer.add_key_length(CONFIG["head_dim"])
        writer.add_value_length(CONFIG["head_dim"])
        writer.add_vocab_size(CONFIG["vocab_size"])
        writer.add_file_type(file_type)
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        # Prompts are token ids; llama.cpp asks for a tokenizer or for the word that there is none.
        writer.add_tokenizer_model("no_vocab")
        random = np.random.default_rng(0)
        for _, name, shape in tensors():
            if len(shape) == 1:
                writer.add_tensor(name, np.ones(shape, dtype=np.float32))
            elif weights == "bf16":
                writer.add_tensor(name, random_bf16(random, shape).view(np.uint8), raw_dtype=kind)
            else:
                writer.add_tensor(name, random_blocks(random, shape, weights), raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()

    replaced(model, write)
    return model


def prompts(batch: int, length: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, CONFIG["vocab_size"], (batch, length))


class Transformers:
    """`AutoModelForCausalLM` with its default attention and cache."""

    def __init__(self, folder: Path, weights: str, threads: int):
        import torch
        import transformers

        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        torch.set_num_threads(threads)
        self.torch = torch
        self.model = transformers.AutoModelForCausalLM.from_pretrained(
            checkpoint(folder), dtype={"bf16": torch.bfloat16, "f32": torch.float32}[weights]
        ).eval()

    def sequences(self, batch: int, length: int) -> "TransformersSequences":
        return TransformersSequences(self, batch, length)

    def close(self) -> None:
        self.model = None


class TransformersSequences:
    """A batch of sequences: `prefill`, then `step` by `step`."""

    def __init__(self, engine: Transformers, batch: int, length: int):
        self.engine = engine
        self.ids = engine.torch.from_numpy(prompts(batch, length))
        self.cache = None

    def prefill(self) -> None:
        self.cache = None
        self.forward(self.ids)

    def step(self) -> None:
        self.forward(self.next)

    def forward(self, ids) -> None:
        with self.engine.torch.inference_mode():
            output = self.engine.model(input_ids=ids, cache=self.cache, use_cache=True, logits_to_keep=1)
            self.cache = output.past_key_values
            self.next = output.logits[:, -1].argmax(dim=-1, keepdim=True)

    def close(self) -> None:
        self.cache = None


class LlamaCpp:
    """llama.cpp's own batches and KV cache, below llama-cpp-python's classes: those decode one sequence."""

    def __init__(self, folder: Path, weights: str, threads: int):
        import llama_cpp

        self.lib, self.threads = llama_cpp, threads
        # Its messages would mix with the figures' lines of whoever reads both streams.
        self.quiet = llama_cpp.llama_log_callback(lambda _level, _text, _data: None)
        llama_cpp.llama_log_set(self.quiet, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        parameters = llama_cpp.llama_model_default_params()
        self.model = llama_cpp.llama_model_load_from_file(str(gguf_file(folder, weights)).encode(), parameters)
        if not self.model:
            raise SystemExit(f"llama.cpp does not load the {weights} model")

    def sequences(self, batch: int, length: int) -> "LlamaCppSequences":
        return LlamaCppSequences(self, batch, length)

    def close(self) -> None:
        self.lib.llama_model_free(self.model)


class LlamaCppSequences:
    def __init__(self, engine: LlamaCpp, batch: int, length: int):
        self.lib, self.ids, self.length = engine.lib, prompts(batch, length), 0
        parameters = self.lib.llama_context_default_params()
        # A sequence's share of the context is a multiple of 256 tokens.
        parameters.n_ctx = batch * 256 * -(-(length + 128) // 256)
        parameters.n_batch = parameters.n_ubatch = 512
        parameters.n_seq_max = batch
        parameters.n_threads = parameters.n_threads_batch = engine.threads
        self.context = self.lib.llama_init_from_model(engine.model, parameters)
        if not self.context:
            raise SystemExit("llama.cpp makes no context")
        self.batch = self.lib.llama_batch_init(512, 0, 1)

    def prefill(self) -> None:
        self.lib.llama_memory_clear(self.lib.llama_get_memory(self.context), True)
        # One sequence at a time: more than 512 tokens do not fit a batch.
        chosen = [self.decode([(sequence, 0, ids)]) for sequence, ids in enumerate(self.ids.tolist())]
        self.length, self.next = self.ids.shape[1], [ids[0] for ids in chosen]

    def step(self) -> None:
        self.next = self.decode([(sequence, self.length, [token]) for sequence, token in enumerate(self.next)])
        self.length += 1

    def decode(self, parts: list[tuple[int, int, list[int]]]) -> list[int]:
        """Adds tokens from a position on to sequences; the best next token of each."""
        batch, at, last = self.batch, 0, []
        for sequence, start, tokens in parts:
            for offset, token in enumerate(tokens):
                batch.token[at], batch.pos[at] = token, start + offset
                batch.n_seq_id[at], batch.seq_id[at][0] = 1, sequence
                batch.logits[at] = offset == len(tokens) - 1
                at += 1
            last.append(at - 1)
        batch.n_tokens = at
        if self.lib.llama_decode(self.context, batch) != 0:
            raise SystemExit("llama.cpp does not decode a batch")
        size = (CONFIG["vocab_size"],)
        logits = [np.ctypeslib.as_array(self.lib.llama_get_logits_ith(self.context, at), size) for at in last]
        return [int(of_one.argmax()) for of_one in logits]

    def close(self) -> None:
        self.lib.llama_batch_free(self.batch)
        self.lib.llama_free(self.context)


def seconds(run: Callable[[], None], warm_up: int, repeats: int) -> float:
    """The median time of `run`, after `warm_up` untimed ones."""
    taken = []
    for number in range(warm_up + repeats):
        start = time.perf_counter()
        run()
        if number >= warm_up:
            taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def measure(engine: Transformers | LlamaCpp, what: str, repeats: int | None) -> tuple[float, str]:
    kind, number = what.split("-")
    if kind == "prefill":
        sequences = engine.sequences(1, int(number))
        value, unit = int(number) / seconds(sequences.prefill, 1, repeats or 5), "tokens/s"
    else:
        sequences = engine.sequences(int(number), PROMPT)
        sequences.prefill()
        value, unit = 1e3 * seconds(sequences.step, WARM_UP, repeats or 20), "ms/step"
    sequences.close()
    return value, unit


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", type=Path, help="where model files are, or are made")
    parser.add_argument("--engine", action="append", choices=WEIGHTS)
    parser.add_argument("--weights", action="append", choices=sorted(set().union(*WEIGHTS.values())))
    parser.add_argument("--what", action="append", choices=WHATS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, help="timed runs a figure: 5 prefills, 20 decode steps by default")
    parser.add_argument("--interactive", action="store_true", help="read figures' names from standard input")
    arguments = parser.parse_args()
    if arguments.repeats is not None and not 1 <= arguments.repeats <= 100:
        parser.error("--repeats is between 1 and 100: sequences have room for 128 more tokens")

    pairs = [
        (engine, weights)
        for engine in arguments.engine or WEIGHTS
        for weights in WEIGHTS[engine]
        if not arguments.weights or weights in arguments.weights
    ]
    if not pairs:
        parser.error("no such engine has these weights")
    if arguments.interactive and len(pairs) != 1:
        parser.error("--interactive needs one engine with one kind of weights")
    for name, weights in pairs:
        load = Transformers if name == "transformers" else LlamaCpp
        engine = load(arguments.folder, weights, arguments.threads)
        asked = (line.strip() for line in sys.stdin) if arguments.interactive else arguments.what or WHATS
        for what in asked:
            if what not in WHATS:
                raise SystemExit(f"{what!r} is not one of {', '.join(WHATS)}")
            value, unit = measure(engine, what, arguments.repeats)
            line = {"engine": name, "weights": weights, "what": what, "value": round(value, 3), "unit": unit}
            print(json.dumps(line), flush=True)
        engine.close()


if __name__ == "__main__":
    main()
