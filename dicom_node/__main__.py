"""The command ``dicom-node``. Each command is a thin file in ``commands``."""

import sys

import click
import structlog

from dicom_node.commands.build_plan import build_plan
from dicom_node.commands.configuration import check_config, echo
from dicom_node.commands.conformance import conformance
from dicom_node.commands.export_model import export
from dicom_node.commands.extract import extract
from dicom_node.commands.figures import evaluate, restate, verify
from dicom_node.commands.infer import infer
from dicom_node.commands.model_configs import configs
from dicom_node.commands.models import models
from dicom_node.commands.phantom import phantom
from dicom_node.commands.points import points
from dicom_node.commands.receive import receive
from dicom_node.commands.send import send
from dicom_node.commands.serve import serve
from dicom_node.commands.studies import retry, studies, study
from dicom_node.commands.training import compare, import_weights, train, transfer


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="dicom-node")
def main() -> None:
    """DICOM-native AI node: chest CT in by C-STORE, SEG, SR and severity back in the PACS.

    Research use only; not a medical device.
    """
    if not structlog.is_configured():  # what a command answers goes to standard output, and nothing else does
        structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))


for command in (
    serve, infer, points, phantom, send, receive, extract, echo, studies, study, retry, check_config, conformance,
):  # fmt: skip
    main.add_command(command)
main.add_command(models)
for command in (verify, evaluate, restate, train, import_weights, compare, transfer, configs, export, build_plan):
    models.add_command(command)

if __name__ == "__main__":
    main()
