"""A job that kills its process the first time, in a file that other processes can import."""

import os
import signal
from pathlib import Path

DEADLY = "deadly"


def deadly_job(job: Path, stop_file: Path | None) -> str:  # noqa: ARG001
    died = job.with_name("died")
    if job.name == DEADLY and not died.exists():
        died.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    job.touch()
    return job.name
