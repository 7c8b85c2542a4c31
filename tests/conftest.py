"""Shared by all tests: one thread, and Ctrl-C as at a terminal."""

import os
import signal
import threading

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

torch.set_num_threads(1)

collect_ignore = ["compare.py"]  # a command of its own: `make compare`

# Shells start background jobs with Ctrl-C ignored, and every process that such a test session starts would inherit it.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN and threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)
