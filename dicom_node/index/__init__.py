"""Our own tables: the business truth about instances, studies, jobs, results and deliveries.

The durable engine's rows are disposable; these are not. SQLite in WAL mode with full synchronisation, one
file on a local disk. Knows no network and no workflow engine (a caller may add its own statement to a
transaction here, which is how a job and its workflow are made in one commit).
"""

from dicom_node.index.commitments import Commitment, CommitmentTable
from dicom_node.index.jobs import Job, JobTable
from dicom_node.index.overview import Overview, StudyOverview
from dicom_node.index.received import Arrival, Index, StudyProgress
from dicom_node.index.tables import open_database

__all__ = [
    "Arrival",
    "Commitment",
    "CommitmentTable",
    "Index",
    "Job",
    "JobTable",
    "Overview",
    "StudyOverview",
    "StudyProgress",
    "open_database",
]
