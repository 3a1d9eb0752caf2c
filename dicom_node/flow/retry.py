"""What an operator's "try again" means for a study, by how far it had come."""

from functools import partial

from dicom_node.flow.durable import WorkQueue
from dicom_node.index import JobTable
from dicom_node.index.jobs import UNFINISHED
from dicom_node.index.received import utc_now

WHY = "an operator asked for a retry"


def retry_study(jobs: JobTable, queue: WorkQueue, study_uid: str) -> str:
    """Queue whatever did not end well, or the whole analysis where everything did. Returns what was done, in words."""
    job = jobs.newest(study_uid)
    if job is None:
        return "nothing to retry: the study is still being received, or was never received"
    if job.state.value in UNFINISHED:
        return "nothing to retry: the analysis is queued or running"
    owed = jobs.undelivered_destinations(job.job_id)
    if not owed:
        jobs.requeue(
            job.job_id,
            now=utc_now(),
            why=WHY,
            enqueue=partial(queue.enqueue_process, job_id=job.job_id),
            fresh=True,
        )
        return "queued: analysis and delivery"
    jobs.reopen(job.job_id, now=utc_now(), why=WHY)
    for destination in owed:
        jobs.defer_deliveries(
            job.job_id,
            destination,
            until=utc_now(),
            enqueue=partial(queue.enqueue_delivery, job_id=job.job_id, destination=destination),
            fresh=True,
        )
    return f"queued: delivery to {', '.join(owed)}"
