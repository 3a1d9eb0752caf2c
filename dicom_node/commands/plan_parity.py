"""``models verify --into-manifest``: what a server with TensorRT plans answered, into the manifests of its plans.

A plan has no answers before Triton serves it; so it is served on trial, compared, and from then on served for good, or
never (``inference.engines.plan_manifest``). The server must serve the repository of the settings itself.
"""

from collections.abc import Sequence

from dicom_node.commands.engine_parity import Comparison, engine_settings
from dicom_node.settings import EngineSettings
from inference.engines.base import EngineError
from inference.engines.plan_manifest import PlanParity, state_parity
from inference.models import EVERY_MODEL

PLAN_PLATFORM = "tensorrt_plan"


def into_manifests(compared: Sequence[Comparison], settings: EngineSettings) -> tuple[list[str], list[str]]:
    """Write the comparisons of each model into its manifest. Returns what was written, and why others were not."""
    from inference.engines.triton import TritonEngine

    written, left = [], []
    for text in dict.fromkeys(one.engine for one in compared if one.engine.startswith("triton=")):
        engine = TritonEngine(
            repository=settings.repository, addresses=engine_settings(text, settings).triton.addresses
        )
        for model in EVERY_MODEL:
            spec = model.spec
            said = [one for one in compared if (one.engine, one.model) == (text, spec.name)]
            if not said:
                continue
            parity = PlanParity(
                reference=said[0].reference,
                said="; ".join(f"on {one.of}: {one.said}" for one in said),
                holds=not any(one.fault for one in said),
            )
            try:
                platforms = set(engine.platforms(spec))
                if platforms != {PLAN_PLATFORM}:
                    raise ValueError(f"{text} serves no plan of it, but {', '.join(sorted(platforms))}")
                state_parity(settings.repository / spec.name / spec.version, parity)
            except (ValueError, EngineError) as error:
                left.append(f"{spec.name}: nothing written: {error}")
            else:
                written.append(f"{spec.name}: its plan {'may' if parity.holds else 'must not'} be served")
        engine.close()
    return written, left or ([] if written else ["--into-manifest needs --engines triton=HOST:PORT"])
