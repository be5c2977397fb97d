"""Fine-tuning a pretrained model towards one task of the synthetic world, by several amounts, with ICL curves on the way.

Two methods on the one training loop of `iclbayes.training`:

    sft  the usual loss on rows of the favoured HMM alone
    dpo  preference pairs: chosen sequences of the favoured HMM, rejected ones of the others, with the pretrained model as the
         reference, whose log probabilities are computed once for all amounts

Rows are of the kind that the model was pretrained on. Every amount starts from the same pretrained model and reads the first
documents of the same list, so amounts are nested.
"""

import dataclasses
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax.typing import ArrayLike

from .. import training
from ..errors import InputError, check_above_zero, check_whole
from ..files import write_csv
from ..ginc import Prompts, Rows, World, sample_document_rows, sample_rows
from ..icl import icl_curves, score_model
from ..models import GPT2
from ..training.checkpoints import CHECKPOINT_FOLDER, check_config, read_config
from ..training.preferences import Preferences

CHUNK = 64  # documents made at once, so that the walks behind 5,000 long documents need not fit in memory together
CURVES_FILE = "curves.csv"
MOST = 2**31 - 1  # what arrays on the device are counted with
DOCUMENTS = Rows("documents", 10)  # the published ones, cut into 10 rows each


@dataclasses.dataclass(frozen=True)
class Tuning:
    """How to fine-tune. The defaults are the published supervised ones (SPEC 5).

    Raises:
      InputError: a value that makes no fine-tuning.
    """

    method: Literal["sft", "dpo"] = "sft"
    favoured: int = 0  # the HMM that documents (dpo: chosen sequences) come from
    learning_rate: float = 8e-5  # peak; published: 8e-5 for sft, 8e-6 for dpo
    batch_size: int = 8  # rows (dpo: pairs) in a batch; fewer if an amount has fewer
    rows: Rows = DOCUMENTS  # kind of rows; sft: all of each document, dpo: rows that begin one
    epochs: int = 1  # passes over the documents
    warmup: float = 0.1  # share of the updates with a rising learning rate
    beta: float = 0.1  # dpo: strength of the pull towards the pretrained model
    weight_decay: float = 0.01  # of AdamW
    evals: int = 5  # ICL curves measured during the run, beside those at its end
    seed: int = 0  # of the order of rows

    def __post_init__(self):
        if self.method not in ("sft", "dpo"):
            raise InputError(f"Tuning.method is {self.method!r}; choose sft or dpo")
        for name, least in (("batch_size", 1), ("epochs", 1), ("evals", 0)):
            check_whole(f"Tuning.{name}", getattr(self, name), least, MOST)
        if not 0 <= self.warmup < 1:
            raise InputError(f"Tuning.warmup is {self.warmup}; give a share in [0, 1)")
        check_above_zero("Tuning.beta", self.beta)

    def rows_in(self, amount: int) -> int:
        """Rows (dpo: pairs) in so many documents."""
        return amount * (self.rows.blocks if self.method == "sft" else 1)

    def training(self, amount: int) -> training.TrainConfig:
        """The training run of an amount: one pass, short warm-up, linear decay.

        Curves are asked for every ⌈steps / (evals + 1)⌉ updates: at `evals` points and the end, or at fewer in runs so short
        that the points would fall together.
        """
        if amount < 1:
            raise InputError(f"suppression: an amount of {amount} documents; give at least 1")
        batch = min(self.batch_size, self.rows_in(amount))
        steps = training.steps_for_epochs(self.rows_in(amount), batch, self.epochs)
        return training.TrainConfig(
            steps=steps,
            batch_size=batch,
            learning_rate=self.learning_rate,
            warmup_steps=min(round(self.warmup * steps), steps - 1),
            weight_decay=self.weight_decay,
            seed=self.seed,
            log_every=max(1, steps // 20),
            eval_every=-(-steps // (self.evals + 1)) if self.evals else 0,
            checkpoint_every=max(1, -(-steps // 2)),
            keep_checkpoints=1,
        )


def tuning_data(
    world: World,
    key: jax.Array,
    tuning: Tuning,
    documents: int,
    context: int,
    *,
    reference: GPT2 | None = None,
    weights: ArrayLike | None = None,
    batch_size: int = 64,
) -> jax.Array | Preferences:
    """What `documents` documents give to train on; fewer documents are its first rows.

    Args:
      world: the world.
      key: random key.
      tuning: method and favoured HMM.
      documents: the largest amount.
      context: tokens in a row.
      reference: dpo: the pretrained model.
      weights: [H] mixture weights of the pretraining, uniform by default; dpo draws rejected sequences from the other HMMs in
        proportion to them.
      batch_size: sequences that the reference scores at once.

    Returns:
      sft: rows int32[documents · rows.blocks, context]; dpo: `training.Preferences` of `documents` pairs, both the first row of a
      document.

    Raises:
      InputError: an HMM that the world has not, no other HMM to reject, or dpo without a reference.
    """
    n_hmms = world.config.hmms
    if not 0 <= tuning.favoured < n_hmms:
        raise InputError(
            f"suppression: favoured task {tuning.favoured} of {n_hmms}; choose 0 to {n_hmms - 1}"
        )
    favoured_key, rejected_key = jax.random.split(key)
    if tuning.method == "sft":

        def favoured(key):
            return sample_document_rows(world, key, CHUNK, context, tuning.rows, hmm=tuning.favoured).tokens

        return _in_chunks(favoured, favoured_key, documents)[: tuning.rows_in(documents)]
    if reference is None:
        raise InputError("suppression: dpo needs the pretrained model as its reference")
    others = np.ones(n_hmms) if weights is None else np.array(weights, float)
    others[tuning.favoured] = 0.0
    if not others.sum() > 0:
        raise InputError("suppression: dpo needs another task with a weight above 0 to reject")

    opening = dataclasses.replace(tuning.rows, blocks=1)  # every row begins a document

    def openings(**source):
        return lambda key: sample_rows(world, key, CHUNK, context, opening, **source).tokens

    chosen = _in_chunks(openings(hmm=tuning.favoured), favoured_key, documents)[:documents]
    rejected = _in_chunks(openings(weights=others), rejected_key, documents)[:documents]
    return training.preference_pairs(reference, chosen, rejected, batch_size=min(batch_size, documents))


def _in_chunks(make: Callable, key: jax.Array, documents: int) -> jax.Array:
    """Rows of chunks 0, 1, … of documents; each chunk depends on its number alone, so that amounts are nested."""
    chunks = range(-(-documents // CHUNK))
    return jnp.concatenate([make(jax.random.fold_in(key, chunk)) for chunk in chunks])


def tune(
    model: GPT2,
    tuning: Tuning,
    data: jax.Array | Preferences,
    amount: int,
    run_dir: str | os.PathLike,
    *,
    on_eval: Callable[[int, GPT2], dict | None] | None = None,
    resume: bool = False,
    extra: dict | None = None,
    progress: bool | Callable[[int], None] = True,
) -> training.TrainResult:
    """Fine-tunes a copy of `model` on the first `amount` documents of `data`; `model` itself stays as it is.

    Args:
      model: the pretrained model.
      tuning: how.
      data: from `tuning_data`, for at least `amount` documents.
      amount: documents.
      run_dir, on_eval, resume, progress: as in `training.train`.
      extra: what else determines the run (JSON), compared on resume.

    Raises:
      InputError: `data` holds fewer documents, or as `training.train` does.
    """
    rows = jax.tree.leaves(data)[0].shape[0]
    if tuning.rows_in(amount) > rows:
        raise InputError(
            f"suppression: {amount} documents need {tuning.rows_in(amount)} rows; the data hold {rows}"
        )
    config = tuning.training(amount)
    # The order is an argument of the program and as long as the data allow, so programs of all amounts have equal shapes.
    longest = training.steps_for_epochs(rows, config.batch_size, tuning.epochs)
    order = _order(tuning, amount, config.batch_size)
    order = np.pad(order, ((0, max(0, longest - len(order))), (0, 0)))
    batch_fn = jax.tree_util.Partial(_pick, data, jnp.asarray(order))
    # β is an argument of the program too.
    dpo_loss = jax.tree_util.Partial(training.dpo_loss, beta=jnp.float32(tuning.beta))
    loss_fn = training.lm_loss if tuning.method == "sft" else dpo_loss
    return training.train(
        model,
        config,
        batch_fn,
        run_dir,
        loss_fn=loss_fn,
        on_eval=on_eval,
        resume=resume,
        extra=_extra(tuning, amount, extra),
        progress=progress,
    )


def _extra(tuning: Tuning, amount: int, extra: dict | None) -> dict:
    return {"tuning": dataclasses.asdict(tuning), "amount": amount, **(extra or {})}


def _order(tuning: Tuning, amount: int, batch: int) -> np.ndarray:
    """Rows of each update, int32[steps, batch]: every epoch in an order of its own, leftovers dropped."""
    rows = tuning.rows_in(amount)
    epochs = [
        np.random.Generator(np.random.PCG64([tuning.seed, epoch]))
        .random(rows)
        .argsort()[: rows // batch * batch]
        for epoch in range(tuning.epochs)
    ]
    return np.concatenate(epochs).reshape(-1, batch).astype(np.int32)


def _pick(data, order, key, step):
    del key  # the order is given
    return jax.tree.map(lambda rows: rows[order[step]], data)


def pretrained_curves(model: GPT2, prompts: Sequence[Prompts], **columns: Any) -> pd.DataFrame:
    """ICL curves before any fine-tuning: method none, amount 0, step 0."""
    return icl_curves(score_model(model, prompts), **columns, method="none", amount=0, step=0)


def tune_amounts(
    model: GPT2,
    tuning: Tuning,
    amounts: Sequence[int],
    world: World,
    key: jax.Array,
    prompts: Sequence[Prompts],
    run_dir: str | os.PathLike,
    *,
    weights: ArrayLike | None = None,
    columns: dict | None = None,
    extra: dict | None = None,
    keep_models: bool = False,
    resume: bool = False,
    progress: bool | Callable[[int], None] = True,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Fine-tunes by every amount, each from the same pretrained model, and measures ICL curves during and after.

    Each amount has its folder `run_dir`/<method>_<amount>: config.json, metrics.csv and, once it is complete, curves.csv.
    Checkpoints are removed then unless `keep_models`. With `resume`, complete amounts are read and a broken one goes on from
    its last checkpoint, to the same bits on the same machine.

    Args:
      model: the pretrained model.
      tuning: how.
      amounts: documents, in any order.
      world, key: what documents are drawn from, and the random key of the draw.
      prompts: to measure ICL curves on.
      run_dir: folder above those of the amounts.
      weights: mixture weights of the pretraining, see `tuning_data`.
      columns: constants for the curves, such as layers=3.
      extra: what else determines a run (JSON).
      keep_models: keep the last checkpoint of each amount.
      resume: go on with what is there.
      progress: show progress bars; or a function to call with the number of updates done.

    Returns:
      (curves, log): rows of `icl_curves` with the columns method, amount (documents) and step (updates done), and the rows of
      metrics.csv with method and amount.

    Raises:
      InputError: an amount below 1 or twice, a folder that holds another run.
    """
    amounts = sorted(amounts)
    if not amounts or len(set(amounts)) < len(amounts) or amounts[0] < 1:
        raise InputError(f"suppression: amounts are {amounts}; give whole numbers of at least 1, each once")
    columns, context = columns or {}, model.config.context
    mixture = None if weights is None else np.asarray(weights, float).tolist()
    extra = {"weights": mixture, "key": jax.random.key_data(key).tolist(), **(extra or {})}
    data, curves, logs = None, [], []
    for amount in amounts:
        labels = {**columns, "method": tuning.method, "amount": amount}
        folder = Path(run_dir) / f"{tuning.method}_{amount:05d}"
        done = folder / CURVES_FILE
        stored = read_config(folder)
        if done.exists() and stored is not None:
            if not resume:
                raise InputError(f"{folder}: already holds a run; resume it or choose another folder")
            check_config(folder, stored, model.config, tuning.training(amount), _extra(tuning, amount, extra))
            if callable(progress):
                progress(tuning.training(amount).steps)
        else:
            if data is None:
                data = tuning_data(world, key, tuning, amounts[-1], context, reference=model, weights=weights)
            measure = _Measure(prompts, folder, labels)
            tune(
                model, tuning, data, amount, folder,
                on_eval=measure, resume=resume, extra=extra, progress=progress,
            )  # fmt: skip
            write_csv(pd.concat(map(_read, measure.files()), ignore_index=True), done)
        if not keep_models:
            shutil.rmtree(folder / CHECKPOINT_FOLDER, ignore_errors=True)
        for path in _parts(folder):
            path.unlink()
        curves.append(_read(done))
        logs.append(pd.read_csv(folder / "metrics.csv").assign(**labels))
    return pd.concat(curves, ignore_index=True), pd.concat(logs, ignore_index=True)


class _Measure:
    """Writes the ICL curves of each evaluated step to a file of its own, so that a stopped run keeps them."""

    def __init__(self, prompts: Sequence[Prompts], folder: Path, labels: dict):
        self.prompts, self.folder, self.labels = prompts, folder, labels

    def __call__(self, step: int, model: GPT2) -> dict[str, float]:
        frame = icl_curves(score_model(model, self.prompts), **self.labels, step=step)
        write_csv(frame, self.folder / f"curves_{step:08d}.csv")
        return {"zero_shot": frame.loc[frame["shots"] == 0, "prob"].mean()}

    def files(self) -> list[Path]:
        return _parts(self.folder)


def _parts(folder: Path) -> list[Path]:
    return sorted(folder.glob("curves_*.csv"))


def _read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, float_precision="round_trip")
