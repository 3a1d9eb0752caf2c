"""Log lines: JSON, where an exception came from, and never what a foreign one says."""

import json
import subprocess
import sys
from typing import Any

PROGRAM = """
import logging, structlog
from dicom_node.errors import PeerRefused
from dicom_node.logs import configure_logging
configure_logging("info")
log = structlog.get_logger("test")
def fail(error):
    raise error
for error in (ValueError("DOE^JOHN"), PeerRefused("status 0122")):
    try:
        fail(error)
    except Exception:
        log.exception("failed", study_uid="1.2.3")
        logging.getLogger("somebody.else").exception("foreign")
logging.getLogger("pynetdicom").info("chatter")
"""


def lines() -> list[dict[str, Any]]:
    ended = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert ended.stdout == ""
    return [json.loads(line) for line in ended.stderr.splitlines()]


def test_lines_say_where_but_not_what() -> None:
    foreign, _, ours, _ = lines()
    assert (foreign["event"], foreign["exception"], foreign["study_uid"]) == ("failed", "ValueError", "1.2.3")
    assert foreign["frames"][-1].endswith(" fail")
    assert "message" not in foreign
    assert ours["message"] == "status 0122"


def test_libraries_lines_are_treated_alike() -> None:
    assert "DOE" not in json.dumps(lines())
    assert [line["event"] for line in lines()] == ["failed", "foreign", "failed", "foreign"]
