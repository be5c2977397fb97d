"""GINC, the synthetic world: mixtures of hidden Markov models, documents, prompts, exact learners,
corpora."""

from .corpus import Corpus as Corpus
from .corpus import CorpusConfig as CorpusConfig
from .corpus import corpus_documents as corpus_documents
from .corpus import read_corpus as read_corpus
from .corpus import write_corpus as write_corpus
from .exact import MixtureNLL as MixtureNLL
from .exact import Prediction as Prediction
from .exact import document_log_probs as document_log_probs
from .exact import exact_pretraining as exact_pretraining
from .exact import exact_prompt as exact_prompt
from .exact import mixture_nll as mixture_nll
from .examples import exact_examples as exact_examples
from .examples import example_log_probs as example_log_probs
from .examples import sample_examples as sample_examples
from .rows import Rows as Rows
from .rows import rows_nll as rows_nll
from .rows import rows_of as rows_of
from .rows import sample_document_rows as sample_document_rows
from .rows import sample_rows as sample_rows
from .sampling import Documents as Documents
from .sampling import Prompts as Prompts
from .sampling import cut_blocks as cut_blocks
from .sampling import sample_blocks as sample_blocks
from .sampling import sample_documents as sample_documents
from .sampling import sample_prompts as sample_prompts
from .sampling import shots_per_prompt as shots_per_prompt
from .world import World as World
from .world import WorldConfig as WorldConfig
from .world import make_world as make_world
