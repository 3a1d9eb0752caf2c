"""Settings as a table: name, built-in value, and what values may be given."""

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from dicom_node.commands.statement.markdown import table

_BOUNDS = {"gt": "more than {}", "ge": "at least {}", "le": "at most {}", "pattern": "`{}`"}
"""Kinds of bounds that pydantic keeps, in words."""


def default(section: type[BaseModel], name: str) -> str:
    """The built-in value of a setting."""
    return _shown(section.model_fields[name].default)


def settings_table(title: str, section: type[BaseModel]) -> str:
    """One section of the settings file, in the file's order."""
    rows = [
        [f"`{title}.{name}`", "" if field.is_required() else _shown(field.default), _range(field)]
        for name, field in section.model_fields.items()
    ]
    return table(["setting", "default", "range"], rows)


def _range(field: FieldInfo) -> str:
    stated = [
        words.format(value)
        for bound in field.metadata
        for kind, words in _BOUNDS.items()
        if (value := getattr(bound, kind, None)) is not None
    ]
    return ", ".join(stated)


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(str(getattr(one, "value", one)) for one in value) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
