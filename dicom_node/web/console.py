"""The operator console: what came in, what became of it, and which models speak. Pages without scripts.

Reads what the JSON API reads. Holds UIDs, states and reasons; no patient. Study and series descriptions are typed by
people at the scanner and come from the network: everything is escaped by the template engine, and the pages may load
nothing from anywhere (Content-Security-Policy).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from fastapi import APIRouter
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from dicom_node.index import Overview
from dicom_node.results import outcome_of
from inference.findings import ModelIdentity

LISTED: Final = 200
REFRESH_S: Final = 10
HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

Ask = Callable[[], str]


def create_console(
    *,
    overview: Overview,
    readiness: Mapping[str, Ask],
    models: Callable[[], Sequence[ModelIdentity]],
    version: str,
) -> APIRouter:
    """The pages. ``models`` is asked for every page, because their files are read when they are first used."""
    pages = Environment(loader=PackageLoader("dicom_node.web", "pages"), autoescape=True, undefined=StrictUndefined)
    pages.globals.update(version=version, refresh_s=REFRESH_S)
    router = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)

    def page(name: str, status: int = 200, **values: object) -> HTMLResponse:
        return HTMLResponse(pages.get_template(name).render(**values), status_code=status, headers=HEADERS)

    @router.get("/")
    def studies() -> HTMLResponse:
        """Health, models and the newest studies."""
        parts = {name: ask() for name, ask in readiness.items()}
        return page("studies.html", parts=parts, models=models(), studies=overview.studies(limit=LISTED))

    @router.get("/studies/{study_uid}")
    def study(study_uid: str) -> HTMLResponse:
        """One study: series with reasons, results, deliveries and history."""
        found = overview.study(study_uid)
        if found is None:
            return page("unknown.html", status=404, study_uid=study_uid)
        why = {str(one["series_uid"]): one["reason"] for one in _rows(found["decisions"])}
        findings = found["findings"]
        outcome = outcome_of(findings) if isinstance(findings, Mapping) else ""
        return page("study.html", study=found, why=why, outcome=outcome)

    return router


def _rows(value: object) -> list[Mapping[str, object]]:
    return value if isinstance(value, list) else []
