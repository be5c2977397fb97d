"""ICL curves of real language models: prompts, back ends, data sets, collecting, and imports.

The back ends live in `iclbayes.llm.backends` and import their engines when they are asked for; everything here needs
none of them.
"""

from .collection import collect as collect
from .contexts import Context as Context
from .contexts import Shot as Shot
from .contexts import make_contexts as make_contexts
from .data import TASKS as TASKS
from .data import Example as Example
from .data import load_task as load_task
from .inspect_logs import read_inspect as read_inspect
from .lm_eval import read_results as read_lm_eval
from .prompts import Prompt as Prompt
from .prompts import build_prompts as build_prompts
from .templates import choose_template as choose_template
