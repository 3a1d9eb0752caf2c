"""Audit messages held against their schema, and read back. lxml validates RELAX NG, so the schema itself is at work."""

from pathlib import Path

from lxml import etree

_SCHEMA = etree.RelaxNG(etree.parse(Path(__file__).with_name("audit_message.rng")))


def valid_message(line: bytes) -> etree._Element:
    """The root of a message that keeps the schema of PS3.15 A.5.1."""
    root = etree.fromstring(line)
    assert _SCHEMA.validate(root), _SCHEMA.error_log
    return root


def coded(root: etree._Element, path: str) -> list[tuple[str, str, str]]:
    """Coded values at a path."""
    return [(one.get("csd-code"), one.get("codeSystemName"), one.get("originalText")) for one in root.iterfind(path)]
