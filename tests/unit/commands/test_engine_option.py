"""``--engine`` as settings."""

import pytest

from dicom_node.commands.options import UsageFailure, engine_overrides


def test_kinds_and_addresses() -> None:
    assert engine_overrides("embedded") == {"kind": "embedded"}
    assert engine_overrides("triton") == {"kind": "triton"}, "the addresses may stand in the file"
    assert engine_overrides("triton=a:8001,b:8001") == {"kind": "triton", "triton": {"addresses": ["a:8001", "b:8001"]}}


@pytest.mark.parametrize("text", ["tensorrt", "embedded=a:1", ""])
def test_other_engines_are_refused(text: str) -> None:
    with pytest.raises(UsageFailure, match=r"expected embedded or triton=HOST:PORT"):
        engine_overrides(text)
