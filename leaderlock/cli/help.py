"""Help texts, as they stand in the modules of the commands."""

from __future__ import annotations


def flowing(text: str) -> str:
    """With the lines of each paragraph joined, so that it fits any terminal.

    A paragraph that begins with a line of "\\b" stays as it is.
    """
    paragraphs = text.strip().split("\n\n")
    return "\n\n".join(p if p.startswith("\b") else " ".join(p.split("\n")) for p in paragraphs)
