"""Curves of different lengths in arrays of one shape: the lengths to pad to, and the index that pads.

Every shape is compiled anew, so lengths are rounded up to the rungs of one ladder: 8, 12, 16, 24, 32, 48, 64, 96, …
(powers of two and the half-way points between).
"""

import itertools

import numpy as np

_RUNGS = np.sort(np.concatenate([8 * 2 ** np.arange(40), 12 * 2 ** np.arange(40)]))
WORTH = 2**17  # points added by a longer padding that cost less than a compilation


def bucket_length(n: np.ndarray | int, *, coarse: bool = False) -> np.ndarray:
    """The smallest rung ≥ n, elementwise.

    Args:
      n: numbers of points.
      coarse: only every second rung: 8, 16, 32, 64, … For programs that take long to compile.

    >>> bucket_length([5, 9, 65, 96]), bucket_length([5, 9, 65, 97], coarse=True)
    (array([ 8, 12, 96, 96]), array([  8,  16, 128, 128]))
    """
    rungs = _RUNGS[::2] if coarse else _RUNGS
    return rungs[np.searchsorted(rungs, n)]


def group_lengths(longest: np.ndarray, n_curves: int) -> np.ndarray:
    """[G] the length to which each group of `n_curves` curves is padded, given its longest curve [G].

    Short groups go to the next longer rung in use while that adds fewer than `WORTH` points.
    """
    lengths = bucket_length(longest)
    used = np.unique(lengths)
    for short, long in itertools.pairwise(used):
        if (lengths == short).sum() * n_curves * (long - short) <= WORTH:
            lengths[lengths == short] = long
    return lengths


def pad_index(
    start: np.ndarray, which: np.ndarray, length: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Index that lays curves side by side, and the mask of what is no padding.

    Args:
      start: [C + 1] offsets: curve c owns the points `start[c]:start[c + 1]`.
      which: [...] the curves wanted.
      length: n, at least that of the longest of them, which is the default (and at least 1).

    Returns:
      points [..., n], index of each point; padding repeats the curve's own first point (another curve's, where it is empty), so
      that what stands there is valid; and real [..., n], False at padding.

    >>> points, real = pad_index(np.array([0, 2, 5]), np.array([0, 1]))
    >>> points.tolist(), real[0].tolist()
    ([[0, 1, 0], [2, 3, 4]], [True, True, False])
    """
    first, sizes = start[:-1][which], np.diff(start)[which]
    offset = np.arange(max(int(sizes.max()), 1) if length is None else length)
    real = offset < sizes[..., None]
    some = np.minimum(first, max(int(start[-1]) - 1, 0))
    return np.where(real, first[..., None] + offset, some[..., None]), real
