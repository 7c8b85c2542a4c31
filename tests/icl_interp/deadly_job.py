"""A job that kills its process the first time, in a file that other processes can import."""

import os
import signal
from pathlib import Path

from icl_interp.measure.development_settings import DevelopmentSettings
from icl_interp.measure.development_workers import CheckpointJob
from icl_interp.tasks.linear_regression import LinearRegression

DEADLY = 10


class DeadlyJob(CheckpointJob):
    def known(self) -> bool:
        return self.target.exists()

    def run(self) -> None:
        died = self.folder / "died"
        if self.step == DEADLY and not died.exists():
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        self.target.touch()
        return


def deadly_job(step: int, folder: Path) -> DeadlyJob:
    task = LinearRegression(2)
    return DeadlyJob(folder / "x.pt", step, task, None, DevelopmentSettings(), "0", folder, folder / str(step))
