"""Folders as the Hugging Face hub has them: `config.json` and safetensors in one file or in several."""

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from cases import Case

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def write_config(config: dict, folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def write(case: Case, tensors: dict[str, np.ndarray], folder: Path) -> None:
    write_config(case.config, folder)
    stored = {name: torch.from_numpy(values).to(DTYPES[case.stored]) for name, values in tensors.items()}
    names = list(stored)
    if case.files == 1:
        save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
        return
    weight_map = {}
    share = -(-len(names) // case.files)
    for number in range(case.files):
        file = f"model-{number + 1:05}-of-{case.files:05}.safetensors"
        part = names[number * share : (number + 1) * share]
        save_file({name: stored[name] for name in part}, folder / file, metadata={"format": "pt"})
        weight_map |= {name: file for name in part}
    total = sum(values.numel() * values.element_size() for values in stored.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")
