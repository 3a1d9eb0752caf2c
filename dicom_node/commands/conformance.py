"""``dicom-node conformance``: what the node speaks, from the tables that it runs on."""

import click


@click.command()
def conformance() -> None:
    """Print the DICOM conformance statement; docs/conformance.md holds the same text."""
    from dicom_node.commands.statement import conformance_statement

    click.echo(conformance_statement(), nl=False)
