"""What an import left out, and why: one line for each, or for each kind where there are many."""

from .lenient import plain

LISTED = 5  # notes of one kind that are written one by one


class Notes:
    """Collects notes by kind, so that thousands of one kind become one line with a count."""

    def __init__(self) -> None:
        self._kinds: dict[str, list[str]] = {}

    def add(self, kind: str, note: str) -> None:
        """Adds a note; `kind` names what was left out in the plural ("files that are no JSON")."""
        self._kinds.setdefault(kind, []).append(plain(note))

    def lines(self) -> list[str]:
        """The notes of each kind in the order in which they came; of many, the first with their number."""
        lines = []
        for kind, notes in self._kinds.items():
            if len(notes) <= LISTED:
                lines += notes
            else:
                lines.append(f"{len(notes)} {kind}; the first: {notes[0]}")
        return lines
