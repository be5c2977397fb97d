"""Numbers printed in the released notebooks of Arora et al. 2024 (arXiv 2410.16531), to stand beside ours."""

import pandas as pd

LOSS = {  # layers: final loss in training and held out, nats a token
    1: (1.966, 1.826),
    2: (2.022, 1.854),
    3: (1.446, 1.382),
    4: (1.411, 1.355),
    8: (1.378, 1.336),
    12: (1.370, 1.332),
    16: (1.366, 1.332),
}
DEPTHS = (3, 4, 8, 12, 16)  # of the errors below
LAWS = ("bayesian_original", "bayesian_sampling", "bayesian_scoring", "bounded_power", "logistic", "power")
NRMSE = {  # fraction of the shots that was fitted: mean NRMSE of the rest, by law
    0.05: (0.0987, 0.2410, 0.1289, 0.1472, 0.0938, 0.0727),
    0.1: (0.1211, 0.0486, 0.0489, 0.0562, 0.0546, 0.0559),
    0.2: (0.0483, 0.0380, 0.0378, 0.0420, 0.0414, 0.0397),
    0.5: (0.0309, 0.0455, 0.0302, 0.0297, 0.0298, 0.0302),
}


def losses(logs: pd.DataFrame) -> pd.DataFrame:
    """Final losses beside the published ones.

    Args:
      logs: rows of the training logs with `layers`; the last rows of `loss` (a mean over some updates) and `eval_loss` count.

    Returns:
      layers, loss, published_loss, eval_loss, published_eval_loss, difference (of eval_loss).
    """
    rows = []
    for layers, log in logs.sort_values("step").groupby("layers"):
        train, held_out = LOSS.get(layers, (float("nan"),) * 2)
        eval_loss = log["eval_loss"].dropna().iloc[-1]
        rows.append((layers, log["loss"].dropna().iloc[-1], train, eval_loss, held_out, eval_loss - held_out))
    names = ["layers", "loss", "published_loss", "eval_loss", "published_eval_loss", "difference"]
    return pd.DataFrame(rows, columns=names)


def errors(table: pd.DataFrame) -> pd.DataFrame:
    """Mean NRMSE over the curves of 3 to 16 layers beside the published ones: fraction, law, nrmse, published, models.

    Args:
      table: rows of `compare` of trained models, with `layers`, `fraction`, `law`, `nrmse`.
    """
    ours = table[table["layers"].isin(DEPTHS)]
    rows = []
    for (fraction, law), part in ours.groupby(["fraction", "law"]):
        if fraction in NRMSE and law in LAWS:
            known = NRMSE[fraction][LAWS.index(law)]
            rows.append((fraction, law, part["nrmse"].mean(), known, part["layers"].nunique()))
    return pd.DataFrame(rows, columns=["fraction", "law", "nrmse", "published", "models"])
