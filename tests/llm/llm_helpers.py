"""A tiny chat model made on the spot, benign questions, and a reference with a pass for each shot count."""

import json
from pathlib import Path

import numpy as np

CHATML = (
    "{% for m in messages %}"
    "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# Others that real models use: with a beginning-of-text token, trimmed content and a space before the answer.
INST = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}"
    "{{ '[INST] ' + m['content'] | trim + ' [/INST]' }}"
    "{% else %}{{ ' ' + m['content'] | trim + ' ' + eos_token }}{% endif %}{% endfor %}"
)
TURNS = (
    "{{ bos_token }}{% for m in messages %}"
    "{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else m['role'])"
    " + '\n' + m['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
)
SPECIAL = ["<|end|>", "<s>", "<|im_start|>", "<|im_end|>", "<start_of_turn>", "<end_of_turn>"]
WORDS = [
    *("apple", "river", "stone", "cloud", "garden", "window", "yellow", "seven"),
    *("quiet", "paper", "horse", "music", "table", "winter", "lemon", "bridge"),
]


def rows(count=40, **extra):
    """Benign yes/no questions, no two the same."""
    made = []
    for i in range(count):
        a, b = WORDS[i % 16], WORDS[(3 * i + i // 16 + 1) % 16]
        yes = (i * i + i // 3) % 2 == 0
        made.append(
            {
                "question": f"Item {i}: is the word {a} longer than the word {b}?",
                "answer": "Yes" if yes else "No",
                "answer_other": "No" if yes else "Yes",
                **extra,
            }
        )
    return made


def write_jsonl(path: Path, records) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def make_tokenizer(kind="bytes", template=CHATML, adds_bos=False):
    """A fast tokenizer trained here.

    Kinds: byte-level BPE (`bytes`), the same with trimmed offsets (`trimmed`), one with a metaspace as
    sentencepiece's (`metaspace`), and one whose tokens reach over spaces and line ends (`glued`).
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    texts = [f"User: {row['question']}\nAssistant: {row['answer']}" for row in rows(60)]
    texts += ["system user assistant model [INST] [/INST] Yes, indeed. Paris London green blue"] * 3
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>" if kind in ("metaspace", "glued") else None))
    if kind in ("metaspace", "glued"):
        spaces = pre_tokenizers.Metaspace(prepend_scheme="first", split=kind == "metaspace")
        lines = pre_tokenizers.Split("\n", "isolated")
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([lines, spaces]) if kind == "metaspace" else spaces
        tokenizer.decoder = decoders.Metaspace(prepend_scheme="first", split=kind == "metaspace")
        alphabet = sorted({letter for text in texts for letter in text} | set("\n:.,()é{}\"'"))
        special = ["<unk>", *SPECIAL]
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=kind == "trimmed")
        alphabet, special = pre_tokenizers.ByteLevel.alphabet(), SPECIAL
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    if adds_bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
        )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>" if adds_bos or template != CHATML else None,
        eos_token="<|end|>",
    )
    fast.chat_template = template
    return fast


def make_llama(tokenizer, positions=2048, seed=0):
    """A randomly initialised Llama of two layers, with weights large enough for its answers to differ."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=positions,
        initializer_range=0.3,
        tie_word_embeddings=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return LlamaForCausalLM(config).eval()


def save_model(folder: Path, kind="bytes", template=CHATML, adds_bos=False, positions=2048) -> Path:
    """Writes the tiny chat model and its tokenizer to a folder."""
    tokenizer = make_tokenizer(kind, template, adds_bos)
    make_llama(tokenizer, positions).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def load_model(folder: Path):
    """(model, tokenizer) of such a folder."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(1)  # more threads only get in each other's way on models this small
    return AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)


def one_pass_per_shot(model, tokenizer, shots, first_tokens=None) -> np.ndarray:
    """ln p(answer | n shots), nats, by a forward pass of its own for each n: the reference.

    Each context is rendered by itself and ends with the answer; what stands before the answer, less a space,
    is tokenised by itself, and the answer's tokens are those that come after.
    """
    import torch

    found = []
    for n, last in enumerate(shots):
        messages = []
        for shot in shots[: n + 1]:
            messages.append({"role": "user", "content": shot.question})
            messages.append({"role": "assistant", "content": shot.shown})
        text = tokenizer.apply_chat_template(messages, tokenize=False)
        place = text.rindex(last.shown, text.rindex(last.question) + len(last.question))
        start = tokenizer(text[:place].rstrip(" "), add_special_tokens=False).input_ids
        whole = tokenizer(text[: place + len(last.shown)], add_special_tokens=False).input_ids
        assert whole[: len(start)] == start
        with torch.inference_mode():
            values = torch.log_softmax(model(torch.tensor([whole])).logits[0].double(), -1)
        answer = range(len(start), len(whole))[:first_tokens]
        found.append(sum(values[i - 1, whole[i]].item() for i in answer))
    return np.array(found)
