"""Which media type an answer has: what a client accepts (RFC 9110 section 12.5.1) against what can be had."""

from collections.abc import Mapping, Sequence

from dicom_node.web.multipart_related import media_type


def chosen(accept: str, offered: Mapping[str, Sequence[str]]) -> str | None:
    """The key of ``offered`` that an Accept header wants most, of equals the first; ``None``: it wants none of them.

    ``offered``: each choice with other names that ask for it, unless the choice itself is ruled out by its name. An
    empty header accepts everything. A range that is not valid counts as absent.
    """
    ranges = dict(_ranges(accept)) if accept.strip() else {"*/*": 1.0}
    weights = {
        choice: 0.0
        if ranges.get(choice) == 0
        else max(_weight(ranges, choice), *(ranges.get(name, 0.0) for name in others))
        for choice, others in offered.items()
    }
    best = max(weights, key=lambda choice: weights[choice])
    return best if weights[best] > 0 else None


def _ranges(accept: str) -> Sequence[tuple[str, float]]:
    found = []
    for one in accept.split(","):
        name, parameter = media_type(one)
        weight = _quality(parameter("q"))
        if weight is not None:
            found.append((name, weight))
    return found


def _quality(text: str) -> float | None:
    """Of 0 to 1 (RFC 9110 section 12.4.2); 1 where none is given."""
    try:
        quality = float(text or 1)
    except ValueError:
        return None
    return quality if 0 <= quality <= 1 else None


def _weight(ranges: Mapping[str, float], name: str) -> float:
    """By the range that names it most exactly, whatever the others say."""
    for one in (name, f"{name.partition('/')[0]}/*", "*/*"):
        if one in ranges:
            return ranges[one]
    return 0.0
