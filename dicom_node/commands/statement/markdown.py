"""Pieces of Markdown: sections, tables, names of UIDs. Knows nothing of what is stated."""

from collections.abc import Iterable, Sequence

from pydicom.uid import UID


def section(title: str, *parts: str) -> str:
    """A heading and what stands under it."""
    return "\n\n".join([f"## {title}", *parts])


def subsection(title: str, *parts: str) -> str:
    """A heading within a section and what stands under it."""
    return "\n\n".join([f"### {title}", *parts])


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; a bar within a cell is escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def bullets(*sentences: str) -> str:
    """A list."""
    return "\n".join(f"- {sentence}" for sentence in sentences)


def uid_name(uid: str) -> str:
    """The name that PS3.6 gives a UID, without the remarks in its name."""
    return UID(uid).name.split(":")[0].split(" (Retired)")[0].strip()


def hexadecimal(status: int) -> str:
    """A status as the standard writes it, e.g. A700."""
    return f"{status:04X}"
