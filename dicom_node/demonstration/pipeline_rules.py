"""Which rules a demonstration's node runs on: as shipped, or with angiograms taken without being asked for."""

import json
from pathlib import Path

from dicom_node.settings import NodeSettings


def rules_for(kind: str, folder: Path) -> list[str]:
    """Flags for a node that analyses studies of ``kind`` (``ct``, ``ctpa``) by itself.

    As shipped, the pipeline of angiograms runs on request only; ``folder``, which is made, gets rules without that.
    """
    if kind != "ctpa":
        return []
    folder.mkdir(parents=True, exist_ok=True)
    rules, settings = folder / "pipelines.toml", folder / "node.toml"
    shipped = NodeSettings().routing_rules.read_text(encoding="utf-8")
    rules.write_text(shipped.replace("on_request = true", "on_request = false"), encoding="utf-8")
    settings.write_text(f"routing_rules = {json.dumps(str(rules.resolve()))}\n", encoding="utf-8")
    return ["--config", str(settings)]
