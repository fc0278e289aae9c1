"""The worker of xp's `transformers` backend: Hugging Face transformers behind a pipe.

xp starts it as `python worker.py PACKAGE…` and talks to it in JSON, one message a line: requests on
standard input, answers on standard output, one answer a request, in order. `docs/worker-protocol.md`
describes every message. What libraries print goes to standard error.

A batch is static: `prefill` begins one with whole prompts, padded on the left to the longest, and each
`decode` yields one more token of the requests that it names. A request that is not named any more has
ended: its row, and columns that only it filled, leave the cache.
"""

import importlib.metadata
import inspect
import json
import os
import platform
import sys
import time
import traceback

PROTOCOL = 1

# What a line of an answer may hold of an error's text.
MAX_MESSAGE = 2000


class Refused(Exception):
    """A request that cannot be answered; `kind` says why in a word."""

    def __init__(self, kind, message):
        super().__init__(message)
        self.kind = kind


class Worker:
    """A model, and the batch that it is computing."""

    def __init__(self, torch, transformers):
        self.torch = torch
        self.transformers = transformers
        self.model = None
        self.drop_batch()

    # Loading

    def load(self, model, dtype, device, threads):
        torch = self.torch
        torch.set_num_threads(threads)
        if device == "cuda" and not torch.cuda.is_available():
            raise Refused("no_device", "torch sees no CUDA device")
        self.device = torch.device(device)
        kind = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}[dtype]
        loaded = self.transformers.AutoModelForCausalLM.from_pretrained(
            model, dtype=kind, local_files_only=True, attn_implementation="sdpa"
        )
        self.model = loaded.to(self.device).eval()
        parameters = inspect.signature(self.model.forward).parameters
        # Its name changed during transformers 5.
        self.cache_name = "cache" if "cache" in parameters else "past_key_values"
        # A first pass: nothing can be said of weights that compute no numbers.
        if not torch.isfinite(self.begin([[0] * 8])).all():
            raise Refused("not_finite", "the model computes numbers that are none")
        self.drop_batch()
        name = torch.cuda.get_device_name(self.device) if device == "cuda" else None
        return {
            "threads": torch.get_num_threads(),
            "device_name": name,
            "attention": self.model.config._attn_implementation,
        }

    # Steps

    def prefill(self, rows):
        """Begins a batch: `rows` are [request, [token, …]]."""
        return self.timed(lambda: self.begin([tokens for _, tokens in rows]), [row[0] for row in rows])

    def decode(self, rows):
        """One more token of each of these requests, which are in the batch."""

        def step():
            self.keep(rows)
            return self.forward(self.next_tokens, self.torch.ones_like(self.next_tokens))

        missing = [request for request in rows if request not in self.requests]
        if missing or not rows:
            raise Refused("failed", f"requests {missing} are not in the batch")
        return self.timed(step, rows)

    def fill(self, rows):
        """Begins a batch as if [request, context] had come that far; the cache holds zeros."""
        torch, config = self.torch, self.model.config
        self.drop_batch()
        self.requests = [request for request, _ in rows]
        longest = max(context for _, context in rows)
        heads = config.num_key_value_heads
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        shape = (len(rows), heads, longest, size)
        for layer in range(config.num_hidden_layers):
            zeros = torch.zeros(shape, dtype=self.model.dtype, device=self.device)
            self.cache.update(zeros, zeros.clone(), layer)
        self.mask = self.padding([context for _, context in rows])
        self.next_tokens = torch.zeros((len(rows), 1), dtype=torch.long, device=self.device)
        return {}

    def timed(self, step, requests):
        """Runs a step, whose logits become a token of each request."""
        start = time.monotonic_ns()
        chosen = step().argmax(dim=-1)
        self.next_tokens = chosen.unsqueeze(1)
        # Waits for the device.
        tokens = chosen.tolist()
        end = time.monotonic_ns()
        self.requests = requests
        return {"tokens": tokens, "start_ns": start, "end_ns": end}

    def begin(self, prompts):
        torch = self.torch
        self.drop_batch()
        longest = max(len(prompt) for prompt in prompts)
        padded = [[0] * (longest - len(prompt)) + prompt for prompt in prompts]
        tokens = torch.tensor(padded, dtype=torch.long, device=self.device)
        return self.forward(tokens, self.padding([len(prompt) for prompt in prompts]))

    def padding(self, lengths):
        """A mask of rows that end at the right: 0 is padding."""
        torch = self.torch
        columns = torch.arange(max(lengths), device=self.device).unsqueeze(0)
        begins = torch.tensor([max(lengths) - length for length in lengths], device=self.device)
        return (columns >= begins.unsqueeze(1)).long()

    def forward(self, tokens, mask):
        """Logits of the last column; the cache grows by the columns of `tokens`."""
        torch = self.torch
        columns = tokens.shape[1]
        self.mask = mask if self.mask is None else torch.cat([self.mask, mask], dim=1)
        positions = (self.mask.cumsum(dim=1) - 1).clamp(min=0)[:, -columns:]
        output = self.model(
            input_ids=tokens,
            attention_mask=self.mask,
            position_ids=positions,
            use_cache=True,
            logits_to_keep=1,
            **{self.cache_name: self.cache},
        )
        return output.logits[:, -1]

    def keep(self, requests):
        """Drops the rows of other requests, and the columns that are padding in all that stay."""
        if requests == self.requests:
            return
        torch = self.torch
        places = {request: row for row, request in enumerate(self.requests)}
        rows = torch.tensor([places[request] for request in requests], device=self.device)
        mask = self.mask[rows]
        padded = int(mask.shape[1] - mask.sum(dim=1).max())
        self.mask = mask[:, padded:]
        self.next_tokens = self.next_tokens[rows]
        for layer in self.cache.layers:
            layer.keys = layer.keys[rows, :, padded:].contiguous()
            layer.values = layer.values[rows, :, padded:].contiguous()
        self.requests = requests

    def drop_batch(self):
        self.requests = []
        self.mask = None
        self.next_tokens = None
        self.cache = self.transformers.DynamicCache()

    def recover(self):
        """After a lack of memory: nothing is kept of the batch."""
        self.drop_batch()
        if self.torch.cuda.is_available():
            self.torch.cuda.empty_cache()


def lacks_memory(torch, error):
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and ("can't allocate memory" in text or "not enough memory" in text)


def version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def answer(worker, request):
    """What becomes of a request: the answer's own fields."""
    try:
        what = request.pop("do")
        if what == "clock":
            return {"ok": {"now_ns": time.monotonic_ns()}}
        if what not in ("load", "prefill", "decode", "fill", "drop_batch"):
            raise Refused("failed", f"{what!r} is no request")
        with worker.torch.inference_mode():
            return {"ok": getattr(worker, what)(**request) or {}}
    except Refused as refused:
        return {"error": {"kind": refused.kind, "message": str(refused)[:MAX_MESSAGE]}}
    except Exception as error:
        kind = "out_of_memory" if lacks_memory(worker.torch, error) else "failed"
        traceback.print_exc()
        message = f"{type(error).__name__}: {error}"[:MAX_MESSAGE]
    # Out of the handler: the error's frames hold tensors.
    if kind == "out_of_memory":
        worker.recover()
    return {"error": {"kind": kind, "message": message}}


def main():
    # The pipe is xp's alone: whatever else prints does so on standard error.
    pipe = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8", newline="\n")
    os.dup2(2, 1)

    def send(message):
        pipe.write(json.dumps(message, separators=(",", ":")) + "\n")
        pipe.flush()

    hello = {"protocol": PROTOCOL, "python": platform.python_version()}
    try:
        import torch
        import transformers
    except Exception as error:
        traceback.print_exc()
        send({"hello": hello | {"failed": f"{type(error).__name__}: {error}"[:MAX_MESSAGE]}})
        return
    torch.set_num_interop_threads(1)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    worker = Worker(torch, transformers)
    send({"hello": hello | {"packages": {package: version(package) for package in sys.argv[1:]}}})
    for line in sys.stdin:
        request = json.loads(line)
        number = request.pop("id")
        send({"id": number} | answer(worker, request))


if __name__ == "__main__":
    main()
