"""A receiving node without its back rooms, in a process of its own that may be killed. Ends with its standard input.

Takes the folder of its data and a port (0: a free one), and prints the port when it serves. What a killed one left is
mended first, as ``app`` does.
"""

import sys
from pathlib import Path

import click

from dicom_node.association import Intake, StorageScp
from dicom_node.association.recovery import index_unlisted
from dicom_node.index import Index, open_database
from dicom_node.logs import configure_logging
from dicom_node.settings import ScpSettings
from dicom_node.spool import SegmentSpool
from dicom_node.spool.occupancy import Occupancy

DEFAULT = ScpSettings()


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("port", type=int)
@click.option("--unsynced", is_flag=True, help="Without the fsync alone; no setting of a node.")
@click.option("--maximum-pdu", default=DEFAULT.maximum_pdu_bytes)
def serve(folder: Path, port: int, unsynced: bool, maximum_pdu: int) -> None:
    """The whole way of an instance: checks, spool, digest, index row."""
    configure_logging("error")
    spool = SegmentSpool(folder / "spool", synchronise=not unsynced)
    index = Index(open_database(folder / "node.sqlite"))
    occupancy = Occupancy(folder / "spool")
    with occupancy.alone() as alone:
        index_unlisted(spool, index, alone=alone)
    intake = Intake(spool, index)
    scp = StorageScp(ScpSettings(bind="127.0.0.1", port=port, maximum_pdu_bytes=maximum_pdu), intake)
    scp.start()
    sys.stdout.write(f"{scp.port}\n")
    sys.stdout.flush()
    sys.stdin.read()
    scp.stop()
    intake.close()
    occupancy.close()


if __name__ == "__main__":
    serve()
