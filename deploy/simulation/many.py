"""Many runs, on several cores: one worker process a job (worker.py), one thread here that feeds it.

A run depends on its scenario and its seed alone, so that it does not matter which worker it comes to.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from queue import SimpleQueue

import msgspec

from deploy.simulation.run import Result, run
from deploy.simulation.scenario import Scenario
from deploy.simulation.worker import read_block, write_block


def run_all(
    chosen: Sequence[tuple[int, Scenario]],
    *,
    jobs: int = 1,
    progress: Callable[[int, float], None] = lambda _seed, _share: None,
) -> Iterator[Result]:
    """Run each scenario with its seed; results as they come. `progress` is told a seed and what share of its
    run is done: in between only where there is but one.
    """
    if len(chosen) == 1:
        ((seed, scenario),) = chosen
        yield run(scenario, seed=seed, progress=lambda share: progress(seed, share))
        return
    jobs = min(jobs, len(chosen))
    workers = [_Worker() for _ in range(jobs)]
    idle: SimpleQueue[_Worker] = SimpleQueue()
    for worker in workers:
        idle.put(worker)

    def work(seed: int, scenario: Scenario) -> Result:
        worker = idle.get()
        result = worker.run(seed, scenario)
        idle.put(worker)
        return result

    pool = ThreadPoolExecutor(jobs)
    try:
        for future in as_completed([pool.submit(work, seed, scenario) for seed, scenario in chosen]):
            result = future.result()
            progress(result.seed, 1.0)
            yield result
    finally:
        for worker in workers:
            worker.end()
        pool.shutdown(wait=True, cancel_futures=True)


class _Worker:
    """A process, used by one thread at a time."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "deploy.simulation.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for us, and what it forked ends with it.
        )

    def run(self, seed: int, scenario: Scenario) -> Result:
        """Raises `RuntimeError` where the process ended: what went wrong it has written to stderr."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            write_block(self._process.stdin, msgspec.msgpack.encode((seed, scenario)))
            told = read_block(self._process.stdout)
        except (OSError, ValueError):
            told = b""
        if not told:
            raise RuntimeError(f"the worker that ran seed {seed} ended")
        return msgspec.msgpack.decode(told, type=Result)

    def end(self) -> None:
        """End it at once, whatever it does."""
        if hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        else:
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
