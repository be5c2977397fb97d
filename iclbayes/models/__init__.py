"""Language models: GPT-2 in Flax NNX and its exchange with `transformers` checkpoints."""

from .attention import ATTENTION as ATTENTION
from .attention import resolve_attention as resolve_attention
from .exchange import export_gpt2 as export_gpt2
from .exchange import import_gpt2 as import_gpt2
from .gpt2 import GPT2 as GPT2
from .gpt2 import GPT2Config as GPT2Config
from .gpt2 import count_params as count_params
from .gpt2 import flops_per_token as flops_per_token
from .gpt2 import gelu_new as gelu_new
