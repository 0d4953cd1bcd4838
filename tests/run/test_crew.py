"""Workers of a cluster elsewhere that leave, come back under another address, or are of another kind."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from distributed import Client, LocalCluster, get_worker

from engine.errors import SetupError
from engine.measure.machine import machine
from engine.run import crew as crews
from engine.run.cluster import Cluster
from engine.run.crew import Crew, stated_patience_s
from engine.run.failures import reason
from engine.run.plan import Node
from engine.run.roles import Member, roles_again, roles_of
from engine.run.same_code import revision
from engine.run.submission import Handed, Submission

HERE = machine()
FAST, SLOW = replace(HERE, fingerprint="f" * 64, cpu="Fast"), replace(HERE, fingerprint="0" * 64, cpu="Slow")


def member(address: str, of: Any = FAST, cpu: int = 1, sums: str = "exact", **more: float) -> Member:
    return Member(f"tcp://{address}", {"cpu": cpu} | more, of, sums)


def test_a_worker_that_is_started_again_on_a_host_of_both_kinds_times_under_its_new_address():
    fast, slow, other = member("a:1"), member("a:2", SLOW), member("b:1")
    roles = roles_of([fast, slow, other])
    assert roles.timing == ("b", "tcp://a:1")
    again = roles_again(roles, [member("a:3"), slow, other], gone=[fast])
    assert (again.machine, again.timing) == (FAST, ("b", "tcp://a:3"))
    # Until it is back its place is kept, and the other kind never times in its stead, however many of those there are.
    assert roles_again(roles, [slow, other], gone=[fast]).timing == ("b",)
    alone = roles_again(roles, [slow, member("c:1", SLOW), member("d:1", SLOW)], gone=[fast, other])
    assert (alone.machine, alone.timing) == (FAST, ("b", "tcp://a:1"))


def test_the_machine_of_a_run_stays_when_another_kind_joins_or_the_benches_leave():
    bench, plain = member("a:1", bench=1), member("b:1", sums="saturating")
    roles = roles_of([bench, plain])
    assert (roles.takes, roles.timing, roles.counting) == ({"cpu": 1, "bench": 1}, (), ("a",))
    # Without a bench nobody times: the step waits for one, rather than for any host of the same kind.
    left = roles_again(roles, [plain], gone=[bench])
    assert (left.takes, left.counting) == ({"cpu": 1, "bench": 1}, ("a",))
    back = roles_again(left, [plain, member("c:1", bench=1), member("d:1", SLOW, bench=1)], gone=[bench])
    assert (back.machine, back.timing, back.counting) == (FAST, ("c",), ("c", "d"))
    assert "tcp://d:1 (Slow" in str(back.note)
    # One with fewer cores: what a timing takes is what all that time have.
    assert roles_again(roles, [bench, member("c:1", cpu=4, bench=1)], gone=[]).takes == {"cpu": 1, "bench": 1}
    assert roles_of([member("a:1", cpu=4)]).takes == {"cpu": 4}
    assert roles_again(roles_of([member("a:1", cpu=4)]), [member("a:2", cpu=2)], gone=[]).takes == {"cpu": 2}


def test_where_nobody_is_left_whoever_comes_may_answer():
    alone = member("a:1")
    roles = roles_again(roles_of([alone]), [], gone=[alone])
    assert (roles.timing, roles.counting) == ((), ())


def test_a_patience_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch):
    assert stated_patience_s() == 600
    monkeypatch.setenv("PARETOSCOPE_WORKER_MINUTES", "0.5")
    assert stated_patience_s() == 30
    for wrong in ("0", "-1", "soon", "nan"):
        monkeypatch.setenv("PARETOSCOPE_WORKER_MINUTES", wrong)
        with pytest.raises(SetupError, match=f"PARETOSCOPE_WORKER_MINUTES is '{wrong}'; give the minutes"):
            stated_patience_s()


class _Work:
    """What was handed over, as a crew asks for it."""

    def __init__(self, cluster: Cluster, nodes: dict[str, Node]) -> None:
        self.out = {key: cluster.ask(node) for key, node in nodes.items()}
        self.back: list[str] = []

    def asked(self) -> dict[str, Any]:
        return dict(self.out)

    def again(self, keys: list[str]) -> None:
        self.back += keys


def test_what_no_worker_can_do_is_said_and_ends_the_run_only_when_nothing_else_goes_on():
    now, notes = [0.0], list[str]()
    bench, plain = member("a:1", bench=1), member("b:1")
    roles = roles_of([bench, plain])
    crew = Crew("tcp://s:8786", [bench, plain], roles, notes.append, lambda: now[0])
    cluster = Cluster(None, FAST, 1, 2, False, crew=crew)  # type: ignore[arg-type]
    nodes = {
        "1": Node("1", "quantize", (), {}, 1.0, None),
        "2": Node("2", "latency", (), {}, 1.0, None),
        "3": Node("3", "facts", ("2",), {}, 1.0, None),
    }
    work = _Work(cluster, nodes)

    def at(seconds: float) -> None:
        now[0] = seconds
        cluster.look(nodes, work)  # type: ignore[arg-type]

    at(0)
    crew.see({"tcp://b:1": plain.resources})
    at(100)
    # A worker that is started again is back by then.
    assert (notes, crew.wanted) == ([], [])
    at(120)
    assert notes == [
        "note: no worker with bench=1 cpu=1 for 20 s, 1 of the steps under way wait for one; tcp://s:8786: none of its 1 workers has "
        "that; when nothing else can go on, the run ends after 10 min 00 s without one (PARETOSCOPE_WORKER_MINUTES)"
    ]
    assert crew.wanted == ["waiting for a worker with bench=1 cpu=1 (20 s)"]
    # As long as other steps go on nothing ends.
    at(5000)
    del work.out["1"]
    at(5010)
    at(5605)
    with pytest.raises(
        SetupError,
        match=r"no worker with bench=1 cpu=1 for 1 h 31 min, .* tcp://s:8786: none of .*`paretoscope resume`",
    ) as ended:
        at(5615)
    assert "\n" not in str(ended.value)
    crew.see({})
    with pytest.raises(SetupError, match=r"tcp://s:8786: it has no worker; start one \(`dask worker tcp://s:8786"):
        at(5620)
    # One that comes is told of, and nothing is taken back: Dask gives it the step by itself.
    crew.see({"tcp://c:1": bench.resources}, [member("c:1", bench=1)])
    at(5630)
    assert (len(notes), notes[-1], crew.wanted) == (2, "note: the steps that waited for a worker have one", [])
    assert work.back == []


@pytest.fixture
def local() -> Iterator[LocalCluster]:
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, resources={"cpu": 1}, dashboard_address="127.0.0.1:0"
    ) as cluster:
        yield cluster


def test_a_step_for_a_worker_that_is_gone_goes_to_the_one_that_came_in_its_place(
    local: LocalCluster, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("engine.run.submission.run_node", lambda *_: get_worker().address)
    (slow,) = (w.address for w in local.workers.values())
    gone = Member(slow.rsplit("/", 1)[0] + "/0", {"cpu": 1}, FAST, "exact")
    members = [Member(slow, {"cpu": 1}, SLOW, "exact"), gone, member("z:1")]
    roles = roles_of(members)
    crew = Crew(local.scheduler_address, members, roles, clock=lambda: float(next(ticks)))
    ticks = iter(range(0, 1000, 5))
    with Client(local, set_as_default=False) as client:
        cluster = Cluster(client, FAST, 1, 1, False, crew=crew)
        nodes = {"1": Node("1", "latency", (), {}, 1.0, None), "2": Node("2", "facts", ("1",), {}, 1.0, None)}
        work = Submission(client, 1)

        def handed(key: str) -> Handed:
            after = tuple(str(work.name(k) or f"{k}-{work.taken_back[k]}") for k in nodes[key].inputs)
            return Handed(f"{key}-{work.taken_back[key]}", None, after, cluster.ask(nodes[key]), 0)  # type: ignore[arg-type]

        work.add(nodes)
        work.feed(handed)
        assert work.asked()["1"].workers == tuple(sorted(("z", gone.address)))
        crew.see({slow: {"cpu": 1}})
        cluster.look(nodes, work)
        assert (work.ended(0.2), work.taken_back.total()) == ([], 0)
        local.scale(2)
        client.wait_for_workers(2, timeout=60)
        (new,) = {w.address for w in local.workers.values()} - {slow}
        crew.see({slow: {"cpu": 1}, new: {"cpu": 1}}, [Member(new, {"cpu": 1}, FAST, "exact")])
        cluster.look(nodes, work)
        work.feed(handed)
        found: dict[str, Any] = {}
        deadline = time.monotonic() + 60
        while len(found) < 2 and time.monotonic() < deadline:
            found |= {key: future.result() for key, future in work.ended(1.0)}
        assert found["1"] == new
        assert work.taken_back == {"1": 1, "2": 1}
        assert work.asked() == {}


def test_a_scheduler_with_a_limit_of_its_own_on_waiting_ends_the_run_and_fails_no_trial():
    from distributed.scheduler import NoValidWorkerError

    error = NoValidWorkerError("latency-1", set(), set(), {"bench": 1}, 60.0)
    node = Node("1", "latency", (), {}, 1.0, None)
    with pytest.raises(SetupError, match=r"no-workers-timeout\); start one, and `paretoscope resume`"):
        reason(error, node, "int8", "net.onnx", None)


def test_whoever_joins_is_asked_by_a_thread_that_ends_with_the_client(
    local: LocalCluster, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(crews, "_LOOK_S", 0.05)
    with Client(local, set_as_default=False) as client:
        (first,) = (w.address for w in local.workers.values())
        known = Member(first, {"cpu": 1}, HERE, "exact")
        crew = Crew(local.scheduler_address, [known], roles_of([known]))
        crew.follow(client, revision())
        local.scale(2)
        client.wait_for_workers(2, timeout=60)
        (new,) = {w.address for w in local.workers.values()} - {first}
        deadline = time.monotonic() + 60
        while new not in crew._known and time.monotonic() < deadline:
            crew._hear()
            time.sleep(0.05)
        assert crew._known[new].machine.fingerprint == HERE.fingerprint
    deadline = time.monotonic() + 60
    while any(t.name == "paretoscope-crew" for t in threading.enumerate()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [t for t in threading.enumerate() if t.name == "paretoscope-crew"]
