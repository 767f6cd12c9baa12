"""Runs on several cores: whoever starts them may be killed, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import psutil
import pytest

from tests.support.waiting import wait_for

RUNS = """
from deploy.simulation.many import run_all
from deploy.simulation.scenario import Scenario
long = Scenario(about="long", nodes=30, seconds=3_600.0, whole=True)
list(run_all([(1, long), (2, long)], jobs=2))
"""


@pytest.mark.processes
@pytest.mark.skipif(not hasattr(os, "fork"), reason="workers fork where they can")
def test_workers_and_what_they_forked_end_with_whoever_started_them() -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    starter = subprocess.Popen([sys.executable, "-c", RUNS], env=environment, stderr=subprocess.DEVNULL)
    me = psutil.Process(starter.pid)
    wait_for(lambda: len(me.children(recursive=True)) == 4, 30.0)  # Two workers, and what each forked.
    children = me.children(recursive=True)

    starter.send_signal(signal.SIGKILL)
    starter.wait()

    wait_for(lambda: not any(_runs(child) for child in children), 20.0)


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
