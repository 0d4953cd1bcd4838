"""Where nodes run: a Dask cluster of this host's own, or the one whose scheduler the user names.

One worker process per host with as many threads as cores and a resource `cpu` of the same number: computing nodes ask for one, latency
nodes for all of them, so nothing else of the worker computes while it times; `host_lock.py` sees to other workers. What is idle of
the cores widens the computing nodes under way (`engine/cores.py`), so that the number that Dask knows of is never the end of it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dask
from distributed import Client, LocalCluster, WorkerPlugin

from engine.errors import SetupError
from engine.measure.machine import machine
from engine.run.away import Away
from engine.run.crew import Crew
from engine.run.failures import WorkerDeaths
from engine.run.own_workers import OwnWorkers
from engine.run.plan import EXCLUSIVE, Node
from engine.run.roles import Ask, Roles
from engine.run.training_device import kind_of, training_device
from engine.scratch import scratch_folder
from engine.store.artifacts import Artifacts
from engine.trials.measurements import Machine

if TYPE_CHECKING:
    from engine.run.submission import Submission

WORKER_ENVIRONMENT = {
    "MALLOC_TRIM_THRESHOLD_": 4_000_000_000,
    "MALLOC_MMAP_THRESHOLD_": 32 * 2**20,
    # Tasks are threads of one process, and each begins with one core; `engine/cores.py` gives them more.
    "OMP_NUM_THREADS": 1,
    # How long torch's threads spin before they sleep while they wait for each other, in turns of GNU OpenMP (300,000 by itself). Waking
    # takes long on virtual machines: two threads trained resnet20 1.7 times as fast as one with these, 1.2 times without any.
    "GOMP_SPINCOUNT": 20_000,
    "MKL_NUM_THREADS": 1,
    "OPENBLAS_NUM_THREADS": 1,
}
"""What a worker process of this host is started with."""

# A step of a small network does not fill a GPU: while one training prepares its images, another computes.
_AT_ONCE_ON_GPU = 2
# How long a nanny has to end its worker, before the run goes on without it.
_RESTART_S = 30


@dataclass(frozen=True)
class Cluster:
    """A connected client, the machine that its workers run on, and the `cpu` resource of one worker.

    `slots` is the `cpu` of all workers together: so much can compute at once. `is_here`: the workers are this process's own, on this host;
    only then `deaths` hears how they end. `device`: the kind of device that torch computes on, on the workers with the resource `gpu`.
    Of workers elsewhere `crew` says who does what now, and `away` what goes with every node (`readiness.py`).
    `lives`: whether there is a worker at the moment, as far as that can be seen from here. `end_worker` kills that of an address, whatever
    it does, where it has a nanny, which then brings another; one without is let go of. `abandon` ends all that compute, where they are the
    run's own.
    """

    client: Client
    machine: Machine
    cores: int
    slots: int
    is_here: bool
    deaths: WorkerDeaths | None = None
    device: str = "cpu"
    lives: Callable[[], bool] = lambda: True
    end_worker: Callable[[str], object] = lambda address: None
    abandon: Callable[[], object] = lambda: None
    away: Away | None = None
    crew: Crew | None = None

    @property
    def _roles(self) -> Roles | None:
        return self.crew.roles if self.crew else None

    def ask(self, node: Node) -> Ask:
        """What the node is to be handed over with."""
        return Ask(tuple(sorted(self.resources(node).items())), self.workers(node))

    def look(self, nodes: Mapping[str, Node], work: Submission) -> None:
        """See to nodes whose workers have gone, where these are elsewhere; raises SetupError where that takes too long (`crew.py`)."""
        if self.crew:
            self.crew.look(nodes, self.ask, work)

    def resources(self, node: Node) -> dict[str, float]:
        """What of a worker's resources the node takes."""
        if node.kind in EXCLUSIVE:
            return self._roles.takes if self._roles else {"cpu": self.cores}
        return {"cpu": 1} if node.device == "cpu" else {"cpu": 1, "gpu": 1}

    def workers(self, node: Node) -> tuple[str, ...]:
        """Hosts or addresses that may run the node; any where there are none."""
        if self._roles is None:
            return ()
        if node.is_of_a_machine:
            return self._roles.timing
        return self._roles.counting if node.kind == "accuracy" else ()


class _QuietOutput(WorkerPlugin):
    """What a worker prints (a user's `forward`, torch's exporter) goes to standard error: the other output is the command's own JSON."""

    def setup(self, worker: object) -> None:
        """In the worker's process, also in one that follows a dead one."""
        os.dup2(2, 1)


@contextmanager
def connect(scheduler: str | None) -> Iterator[Cluster]:
    """A cluster for the time of a run; SetupError when the named scheduler does not answer or has no usable worker."""
    # Long torch kernels hold a worker's event loop for seconds, which is no reason to tell the user about it.
    dask.config.set({"distributed.worker.memory.terminate": False, "distributed.admin.tick.limit": "1h"})
    # A worker that died is started again by its nanny. Dask gives both up when that takes 15 s, as importing torch may on a busy host: the
    # run would wait for ever for a worker that nobody starts.
    dask.config.set({"distributed.deploy.lost-worker-timeout": "1 day"})
    # Native code may keep a worker from saying anything for longer than the five minutes after which Dask would forget it; how long a node
    # may take is the runner's to say (`time_limit.py`), and a worker's death is seen by its nanny.
    dask.config.set({"distributed.scheduler.worker-ttl": None})
    # The runner itself tries what a dead worker held once more, alone.
    dask.config.set({"distributed.scheduler.allowed-failures": 1})
    # This setting replaces the nanny's own whole. Its small trim threshold makes glibc give back and fetch anew every tensor of a training:
    # a resnet20 epoch took 209 s of processor time with it and 138 s without.
    dask.config.set({"distributed.nanny.pre-spawn-environ": WORKER_ENVIRONMENT})
    for name in ("distributed", "distributed.nanny", "distributed.worker", "distributed.scheduler", "tornado"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    if scheduler is None:
        cores, device = machine().cores, kind_of(training_device())
        with (
            scratch_folder() as folder,
            WorkerDeaths() as deaths,
            LocalCluster(
                n_workers=1,
                threads_per_worker=cores,
                resources={"cpu": cores} | ({} if device == "cpu" else {"gpu": _AT_ONCE_ON_GPU}),
                # Its status page; a free port, so that two sweeps can run at once.
                dashboard_address="127.0.0.1:0",
                memory_limit=0,
                silence_logs=logging.CRITICAL,
                local_directory=str(folder),
                # Workers' temporary files lie there too, those that a killed one leaves behind.
                env={"TMPDIR": str(folder)},
            ) as local,
            Client(local) as client,
        ):
            client.register_plugin(_QuietOutput())
            workers = OwnWorkers(local)
            yield Cluster(
                client, machine(), cores, cores, True, deaths, device, workers.lives, workers.end, workers.abandon
            )
        return
    try:
        client = Client(scheduler, timeout=10)
    except (OSError, ValueError, TimeoutError):
        raise SetupError(f"no Dask scheduler answers at {scheduler}; start one with `dask scheduler`") from None
    with client:
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
        each = [int(w.get("resources", {}).get("cpu", 0)) for w in workers]
        cores = max(each, default=0)
        if not cores:
            raise SetupError(
                f"{scheduler} has no worker with the resource cpu; start one per host with "
                f"`dask worker {scheduler} --nthreads N --resources cpu=N`"
            )

        remote: Any = client.scheduler

        def end_worker(address: str) -> None:
            # The scheduler itself is asked: Dask's client refuses where a worker has no nanny, which is then only let go of.
            with suppress(OSError, TimeoutError):
                client.sync(
                    remote.restart_workers,
                    workers=[address],
                    timeout=_RESTART_S,
                    wait_for_workers=False,
                    on_error="return",
                    stimulus_id=f"late-{address}",
                )

        yield Cluster(client, machine(), cores, sum(each), False, end_worker=end_worker)


def check_artifacts(cluster: Cluster, artifacts: Artifacts) -> None:
    """Every worker reaches the artifacts: each would otherwise fail whatever node it is given. Raises SetupError."""
    answers = cluster.client.run(artifacts.check, on_error="return")
    for worker, error in answers.items():
        if error is not None:
            raise SetupError(f"worker {worker}: {error}")
