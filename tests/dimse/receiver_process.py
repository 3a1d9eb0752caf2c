"""A receiving node without its back rooms, in a process of its own that tests may kill. Ends with its standard input.

Takes the folder of its data and a port, which it prints when it serves; what a killed one left is mended first, as
``app`` does.
"""

import sys
from pathlib import Path

from dicom_node.association import Intake, StorageScp
from dicom_node.association.recovery import index_unlisted
from dicom_node.index import Index, open_database
from dicom_node.logs import configure_logging
from dicom_node.settings import ScpSettings
from dicom_node.spool import SegmentSpool
from dicom_node.spool.occupancy import Occupancy


def main(folder: Path, port: int) -> None:
    configure_logging("error")
    spool, index = SegmentSpool(folder / "spool"), Index(open_database(folder / "node.sqlite"))
    occupancy = Occupancy(folder / "spool")
    with occupancy.alone() as alone:
        index_unlisted(spool, index, alone=alone)
    intake = Intake(spool, index)
    scp = StorageScp(ScpSettings(bind="127.0.0.1", port=port), intake)
    scp.start()
    sys.stdout.write(f"{scp.port}\n")
    sys.stdout.flush()
    sys.stdin.read()
    scp.stop()
    intake.close()
    occupancy.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
