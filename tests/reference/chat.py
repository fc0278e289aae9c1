"""What transformers renders from the chat templates under `chat/`, and the `tokenizer_config.json` they come in."""

import datetime
import json
import tempfile
from pathlib import Path

import jinja2
from tokenizers import Tokenizer, models
from transformers import AutoTokenizer
from transformers.utils import chat_template_utils

# What `strftime_now` tells the time by.
NOW = datetime.datetime(2025, 3, 7, 15, 4, 5)

SPECIAL = {
    "tools-and-thinking": {"bos_token": None, "eos_token": "<|end|>", "pad_token": "<|end|>"},
    "system-and-date": {"bos_token": "<|begin|>", "eos_token": "<|eot|>"},
    # Older files say of a special token how it is matched.
    "turns": {
        name: {
            "__type": "AddedToken",
            "content": token,
            "lstrip": False,
            "normalized": False,
            "rstrip": False,
            "single_word": False,
        }
        for name, token in {"bos_token": "<s>", "eos_token": "</s>"}.items()
    },
}


class Clock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return NOW


def write_json(value, path: Path) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def write_config(folder: Path) -> None:
    template = (folder / "chat_template.jinja").read_text()
    config = SPECIAL[folder.name] | {
        "chat_template": template,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 512,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    write_json(config, folder / "tokenizer_config.json")


def load(folder: Path):
    """A tokenizer without a vocabulary: templates are rendered before anything is made of tokens."""
    with tempfile.TemporaryDirectory() as copy:
        Tokenizer(models.BPE()).save(f"{copy}/tokenizer.json")
        Path(copy, "tokenizer_config.json").write_bytes((folder / "tokenizer_config.json").read_bytes())
        return AutoTokenizer.from_pretrained(copy)


def render(tokenizer, conversation: dict, add_generation_prompt: bool) -> dict:
    try:
        text = tokenizer.apply_chat_template(
            conversation["messages"],
            tools=conversation.get("tools"),
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            **conversation.get("variables", {}),
        )
    except jinja2.TemplateError as error:
        return {"error": error.message}
    return {"text": text}


def make(folder: Path) -> None:
    chat_template_utils.datetime = Clock
    for template in sorted(path.parent for path in folder.glob("*/chat_template.jinja")):
        write_config(template)
        tokenizer = load(template)
        conversations = json.loads((template / "messages.json").read_text())
        rendered = [
            {
                "name": conversation["name"],
                "without_generation_prompt": render(tokenizer, conversation, False),
                "with_generation_prompt": render(tokenizer, conversation, True),
            }
            for conversation in conversations
        ]
        write_json({"now": NOW.isoformat(), "rendered": rendered}, template / "expected.json")
        print(f"chat/{template.name:<20} {len(rendered)} conversations")
