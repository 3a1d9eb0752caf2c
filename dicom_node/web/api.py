"""The HTTP interface. Fixed paths, because scripts and load balancers call them: see docs/operators-guide.md."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated

from fastapi import FastAPI, HTTPException, Query, Response
from pydantic import BaseModel

from dicom_node.index import Overview

MAXIMUM_LISTED = 1000


class StudyLine(BaseModel):
    """A line of the list of studies."""

    study_uid: str
    state: str
    reason: str
    outcome: str
    generation: int
    instances: int
    first_received_at: datetime
    last_received_at: datetime


class Health(BaseModel):
    """Answer of the health checks: every part by name, "ok" or what is wrong with it."""

    status: str
    parts: dict[str, str]


def create_api(*, overview: Overview, readiness: Mapping[str, Callable[[], str]], version: str) -> FastAPI:
    """The application. ``readiness``: for each part of the node a question answered by "ok" or by what is wrong."""
    api = FastAPI(
        title="dicom-node",
        version=version,
        description="DICOM-native AI node. Research use only; not a medical device.",
        docs_url="/api/docs",
        openapi_url="/api/openapi.json",
        redoc_url=None,
        redirect_slashes=False,  # a redirection names the address over plain HTTP, to whoever asks
    )

    @api.get("/api/studies")
    def list_studies(limit: Annotated[int, Query(ge=1, le=MAXIMUM_LISTED)] = 200) -> list[StudyLine]:
        """Studies, newest arrivals first."""
        return [StudyLine.model_validate(line, from_attributes=True) for line in overview.studies(limit=limit)]

    @api.get("/api/studies/{study_uid}")
    def show_study(study_uid: str) -> dict[str, object]:
        """State, series, decisions with reasons, findings, results, deliveries and history of a study."""
        found = overview.study(study_uid)
        if found is None:
            raise HTTPException(404, "the node has never received an instance of this study")
        return found

    @api.get("/health/live")
    def live() -> Health:
        """Whether the process answers at all."""
        return Health(status="ok", parts={})

    @api.get("/health/ready")
    def ready(response: Response) -> Health:
        """Whether the node takes instances and works on them; 503 where a part does not."""
        parts = {name: ask() for name, ask in readiness.items()}
        healthy = all(answer == "ok" for answer in parts.values())
        if not healthy:
            response.status_code = 503
        return Health(status="ok" if healthy else "not ready", parts=parts)

    return api
