"""Training of GPT-2: one loop, with pluggable batches and losses, that stops and resumes without a trace."""

from .batches import rows_batch_fn as rows_batch_fn
from .batches import steps_for_epochs as steps_for_epochs
from .checkpoints import load_model as load_model
from .config import TrainConfig as TrainConfig
from .config import learning_rate_at as learning_rate_at
from .config import make_optimizer as make_optimizer
from .evaluation import EvalLoss as EvalLoss
from .evaluation import evaluate as evaluate
from .loop import TrainResult as TrainResult
from .loop import TrainWarning as TrainWarning
from .loop import train as train
from .losses import cross_entropy as cross_entropy
from .losses import lm_loss as lm_loss
from .losses import sequence_nll as sequence_nll
from .losses import token_nll as token_nll
from .preferences import Preferences as Preferences
from .preferences import dpo_loss as dpo_loss
from .preferences import preference_pairs as preference_pairs
from .step import Trainer as Trainer
from .step import TrainState as TrainState
from .step import init_params as init_params
from .step import read_totals as read_totals
from .utilisation import matrix_rate as matrix_rate
from .utilisation import utilisation as utilisation
