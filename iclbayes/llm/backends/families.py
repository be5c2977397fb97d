"""Prompts that begin alike, as one prompt with a small tree of the others' further tokens.

A competing answer is a prompt of its own: all that stands before the answer, and the answer. What stands before is in the prompt
of the whole context already; only the few tokens behind it are new. The tree has a node for each of them, shared between answers
that begin alike, and a pass over the nodes sees the keys and values of the whole context up to where the node's answer begins.
"""

import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np

from ..prompts import Prompt


@dataclasses.dataclass
class Family:
    """One prompt, others that begin as it does, and the tree of their further tokens.

    Attributes:
      members: indices of the prompts, the whole one first.
      places: for every member, int64 [R]: where each of its `reads` is read, a position of the whole prompt, or −1 − n
        for node n.
      tokens, positions: token and position of every node.
      anchors: how many tokens of the whole prompt come before the node's branch.
      above: the node before it in its branch, −1 for the first one.
    """

    members: list[int]
    places: list[np.ndarray]
    tokens: list[int] = dataclasses.field(default_factory=list)
    positions: list[int] = dataclasses.field(default_factory=list)
    anchors: list[int] = dataclasses.field(default_factory=list)
    above: list[int] = dataclasses.field(default_factory=list)
    _known: dict[tuple[int, int, int], int] = dataclasses.field(default_factory=dict)

    def add(self, index: int, prompt: Prompt, whole: Prompt) -> None:
        """Makes a prompt that begins as `whole` does a member."""
        shorter = min(len(prompt.ids), len(whole.ids))
        differ = np.flatnonzero(prompt.ids[:shorter] != whole.ids[:shorter])
        common = int(differ[0]) if len(differ) else shorter
        node, nodes = -1, {}
        for position in range(common, int(prompt.reads[0].max(initial=-1)) + 1):
            node = nodes[position] = self._node(node, common, int(prompt.ids[position]), position)
        places = [p if p < common else -1 - nodes[p] for p in prompt.reads[0].tolist()]
        self.members.append(index)
        self.places.append(np.array(places, np.int64))

    def _node(self, above: int, anchor: int, token: int, position: int) -> int:
        key = (above, anchor if above < 0 else -1, token)
        if key not in self._known:
            self._known[key] = len(self.tokens)
            self.tokens.append(token)
            self.positions.append(position)
            self.anchors.append(anchor)
            self.above.append(above)
        return self._known[key]

    def sees(self, length: int, width: int) -> np.ndarray:
        """bool [width, length + width]: what each node sees of `length` tokens of the whole prompt and of the nodes.

        Rows and columns beyond the nodes pad; they see the first token alone.
        """
        seen = np.zeros((width, length + width), bool)
        for n, (anchor, above) in enumerate(zip(self.anchors, self.above)):
            if above >= 0:
                seen[n] = seen[above]
            else:
                seen[n, :anchor] = True
            seen[n, length + n] = True
        seen[len(self.tokens) :, 0] = True
        return seen


def families(prompts: Sequence[Prompt], most: int = 4096) -> list[Family]:
    """Every prompt as a member of one family, longest whole prompts first.

    Args:
      most: nodes of a family at most; a further answer then becomes a whole prompt.
    """
    starts = {i: int(p.spans[0, 0]) for i, p in enumerate(prompts) if len(p.spans) == 1}
    lengths = np.unique(np.array([*starts.values()], np.int64))
    begun: dict[bytes, int] = {}  # what a family's whole prompt begins with -> the family
    found: list[Family] = []
    # Whole contexts before single answers, one of which may be longer; the longest first.
    for i in sorted(range(len(prompts)), key=lambda i: (i in starts, -len(prompts[i].ids))):
        prompt = prompts[i]
        keys = _beginnings(prompt, lengths)
        home = begun.get(keys.get(starts.get(i, -1), b""))
        if home is not None and len(found[home].tokens) + len(prompt.ids) - starts[i] <= most:
            found[home].add(i, prompt, prompts[found[home].members[0]])
        else:
            begun |= dict.fromkeys(keys.values(), len(found))
            found.append(Family([i], [prompt.reads[0].astype(np.int64)]))
    return sorted(found, key=lambda family: -len(prompts[family.members[0]].ids))


def _beginnings(prompt: Prompt, lengths: np.ndarray) -> dict[int, bytes]:
    """Digest of the prompt's first tokens, for each of these numbers of them that it has."""
    ids = np.ascontiguousarray(prompt.ids, np.int32)
    digest, at, found = hashlib.blake2b(digest_size=16), 0, {}
    for length in lengths[: np.searchsorted(lengths, len(ids), side="right")].tolist():
        digest.update(ids[at:length].tobytes())
        at, found[length] = length, digest.digest()
    return found
