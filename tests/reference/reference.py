"""What Hugging Face transformers computes from a model's files: logits and greedy tokens, in f32 on one thread.

Greedy tokens are a reference only where no other order of summation picks another token. So prompts are searched for
which the best logit is always well above the second, every router's last chosen expert above the first left out, and
the tokens are not a loop; and the same tokens must come out of one pass over the whole sequence, in f32 and in f64.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.numpy import save_file
from transformers import AutoModelForCausalLM

from checkpoint import write_config

PROMPT_LENGTHS = (1, 7, 40)
GREEDY_TOKENS = 200
LEAST_GAP = 1e-2
LEAST_ROUTER_GAP = 5e-4
MOST_ROUNDING = 1e-3
LEAST_DISTINCT = 50
PROMPTS_TRIED = 60

torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()


@dataclass
class Answer:
    prompt: list[int]
    logits: np.ndarray
    greedy: list[int]
    gap: float
    rounding: float


def load(folder: Path, dtype: torch.dtype = torch.float32) -> torch.nn.Module:
    model, report = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=dtype,
        attn_implementation="eager",
        experts_implementation="eager",
        output_loading_info=True,
    )
    unused = {name: what for name, what in report.items() if what}
    tied = model.config.tie_word_embeddings
    assert not unused or (tied and set(unused) == {"missing_keys"}), f"{folder}: {unused}"
    return model.eval()


def load_tensors(config: dict, tensors: dict[str, np.ndarray]) -> torch.nn.Module:
    """A model of f32 weights in memory, by way of a checkpoint, so that transformers maps the names."""
    with tempfile.TemporaryDirectory() as folder:
        write_config(config, Path(folder))
        contiguous = {name: np.ascontiguousarray(values) for name, values in tensors.items()}
        save_file(contiguous, Path(folder) / "model.safetensors", metadata={"format": "pt"})
        return load(Path(folder))


class RouterGaps:
    """The least difference, over all tokens and layers seen, of the last chosen and the first other expert's logit."""

    def __init__(self, model: torch.nn.Module):
        self.least = float("inf")
        for module in model.modules():
            if hasattr(module, "top_k") and hasattr(module, "norm_topk_prob"):
                module.register_forward_hook(self.see)

    def see(self, module, _inputs, outputs) -> None:
        best = outputs[0].sort(dim=-1, descending=True).values
        gaps = best[:, module.top_k - 1] - best[:, module.top_k]
        self.least = min(self.least, gaps.min().item())


def gaps_of(logits: torch.Tensor) -> torch.Tensor:
    best = logits.topk(2, dim=-1).values
    return best[..., 0] - best[..., 1]


def loops(tokens: list[int]) -> bool:
    """Whether the last 60 tokens repeat."""
    tail = tokens[-60:]
    return any(tail[period:] == tail[:-period] for period in range(1, 31))


@torch.no_grad()
def decode(model: torch.nn.Module, prompt: list[int]) -> tuple[np.ndarray, list[int], float] | None:
    """Logits after the prompt, greedy tokens and their least gap, with a KV cache; None once a gap is too small."""
    past, ids, first, greedy, least = None, torch.tensor([prompt]), None, [], float("inf")
    for _ in range(GREEDY_TOKENS):
        output = model(input_ids=ids, cache=past, use_cache=True)
        past, logits = output.past_key_values, output.logits[0, -1]
        first = logits.numpy().copy() if first is None else first
        least = min(least, gaps_of(logits).item())
        if least < LEAST_GAP:
            return None
        greedy.append(int(logits.argmax()))
        ids = torch.tensor([greedy[-1:]])
    return first, greedy, least


@torch.no_grad()
def rounding(model: torch.nn.Module, double: torch.nn.Module, prompt: list[int], greedy: list[int]) -> float:
    """Checks the tokens against one pass without a cache in f32 and in f64; the largest difference of two logits."""
    ids = torch.tensor([prompt + greedy[:-1]])
    after = slice(len(prompt) - 1, None)
    passes = [run(input_ids=ids, use_cache=False).logits[0, after] for run in (model, double)]
    for logits in passes:
        assert logits.argmax(dim=-1).tolist() == greedy, "tokens differ without a cache or in f64"
    return (passes[0] - passes[1]).abs().max().item()


def answers(model: torch.nn.Module, double: torch.nn.Module, seed: int, vocabulary: int) -> list[Answer]:
    """One answer per prompt length. `double` is the same model, which is turned to f64."""
    double.double()
    router = RouterGaps(model)
    random = np.random.default_rng([seed, 1])
    return [search(model, double, router, random, length, vocabulary) for length in PROMPT_LENGTHS]


def search(model, double, router: RouterGaps, random: np.random.Generator, length: int, vocabulary: int) -> Answer:
    for _ in range(PROMPTS_TRIED):
        prompt = random.integers(0, vocabulary, length).tolist()
        router.least = float("inf")
        decoded = decode(model, prompt)
        if decoded is None or router.least < LEAST_ROUTER_GAP:
            continue
        logits, greedy, gap = decoded
        if len(set(greedy)) < LEAST_DISTINCT or loops(greedy):
            continue
        off = rounding(model, double, prompt, greedy)
        assert off < MOST_ROUNDING, f"f32 and f64 differ by {off}"
        return Answer(prompt, logits, greedy, gap, off)
    raise SystemExit(f"no prompt of {length} tokens has a clear greedy continuation: change the case's seed")


@torch.no_grad()
def bf16_rms(folder: Path, model: torch.nn.Module, found: list[Answer]) -> float:
    """Root mean square of what logits after all prompts and greedy tokens differ by when they are computed in bf16."""
    in_bf16 = load(folder, torch.bfloat16)
    squares = []
    for answer in found:
        ids = torch.tensor([answer.prompt + answer.greedy[:-1]])
        after = slice(len(answer.prompt) - 1, None)
        logits = [run(input_ids=ids, use_cache=False).logits[0, after].float() for run in (model, in_bf16)]
        squares.append((logits[0] - logits[1]).square().flatten())
    return torch.cat(squares).mean().sqrt().item()
