"""Writes `cases/` and `chat/` anew, or the cases named: `python make.py [NAME …]`; `chat` is all chat templates."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np

import cases
import chat
import checkpoint
import gguf_files
import reference
from cases import Case

HERE = Path(__file__).parent


def write_answers(folder: Path, answers: list[reference.Answer], bf16_rms: float | None) -> None:
    np.stack([answer.logits for answer in answers]).astype("<f4").tofile(folder / "logits.f32")
    lists = {
        "prompts": [answer.prompt for answer in answers],
        "greedy": [answer.greedy for answer in answers],
    }
    numbers = {
        "gap": float(f"{min(answer.gap for answer in answers):.3g}"),
        "rounding": float(f"{max(answer.rounding for answer in answers):.1g}"),
    }
    if bf16_rms is not None:
        numbers["bf16_rms"] = float(f"{bf16_rms:.3g}")
    # One list a line: a change of a prompt is one line of a diff.
    lines = [
        f'  "{name}": [\n' + ",\n".join(f"    {json.dumps(ids)}" for ids in several) + "\n  ]"
        for name, several in lists.items()
    ]
    lines.append(f'  "logits": {{"file": "logits.f32", "shape": {json.dumps([len(answers), cases.VOCABULARY])}}}')
    lines += [f'  "{name}": {json.dumps(value)}' for name, value in numbers.items()]
    (folder / "reference.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


def make(case: Case, quantized: bool) -> None:
    folder = HERE / "cases" / case.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    tensors = cases.weights(case)
    if quantized:
        file = folder / "model.gguf"
        gguf_files.write(case, tensors, file)
        stored = gguf_files.read(case, file)
        assert stored.keys() == tensors.keys()
        models = [reference.load_tensors(case.config, stored) for _ in range(2)]
    else:
        checkpoint.write(case, tensors, folder)
        models = [reference.load(folder) for _ in range(2)]
    found = reference.answers(*models, case.seed, case.config["vocab_size"])
    bf16_rms = None if quantized else reference.bf16_rms(folder, models[0], found)
    write_answers(folder, found, bf16_rms)
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(
        f"{case.name:<20} {size / 1000:6.0f} kB  gap {min(answer.gap for answer in found):.4f}"
        f"  rounding {max(answer.rounding for answer in found):.1e}"
        f"  distinct {[len(set(answer.greedy)) for answer in found]}",
        flush=True,
    )


def main() -> None:
    wanted = set(sys.argv[1:])
    known = {case.name for case in cases.SAFETENSORS + cases.GGUF} | {"chat"}
    if wanted - known:
        raise SystemExit(f"not a case: {', '.join(sorted(wanted - known))}")
    for case in cases.SAFETENSORS + cases.GGUF:
        if not wanted or case.name in wanted:
            make(case, quantized=case in cases.GGUF)
    if not wanted or "chat" in wanted:
        chat.make(HERE / "chat")


if __name__ == "__main__":
    main()
