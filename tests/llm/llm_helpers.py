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


def rotary_order(weight, heads):
    """Rows of a query or key matrix in the order in which llama.cpp rotates them."""
    out, width = weight.shape
    return weight.reshape(heads, 2, out // heads // 2, width).swapaxes(1, 2).reshape(out, width)


def write_gguf(folder, path, add_bos):
    """The Llama and byte-level tokenizer of `folder` as a float32 GGUF file."""
    import gguf

    model, tokenizer = load_model(folder)
    config = model.config
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_rope_freq_base(10_000.0)
    writer.add_vocab_size(config.vocab_size)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    kinds = gguf.TokenType
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([token for token, _ in vocabulary])
    writer.add_token_types([kinds.CONTROL if i in special else kinds.NORMAL for _, i in vocabulary])
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    writer.add_token_merges([pair if isinstance(pair, str) else " ".join(pair) for pair in merges])
    bos = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    writer.add_bos_token_id(bos)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_add_bos_token(add_bos)
    if tokenizer.chat_template:
        writer.add_chat_template(tokenizer.chat_template)
    names = {
        "model.embed_tokens": "token_embd",
        "model.norm": "output_norm",
        "lm_head": "output",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
    }
    for name, tensor in model.state_dict().items():
        value = tensor.float().numpy()
        stem = name.removesuffix(".weight")
        layer = ""
        if stem.startswith("model.layers."):
            number, stem = stem.removeprefix("model.layers.").split(".", 1)
            layer = f"blk.{number}."
        if stem.endswith("q_proj"):
            value = rotary_order(value, config.num_attention_heads)
        if stem.endswith("k_proj"):
            value = rotary_order(value, config.num_key_value_heads)
        writer.add_tensor(f"{layer}{names[stem]}.weight", np.ascontiguousarray(value))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
