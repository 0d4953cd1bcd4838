"""Who does what in a cluster: benches time, one kind of machine alone; right answers are counted where sums come out as they do there."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.errors import SetupError
from engine.measure.machine import machine
from engine.run.away import Away, ready
from engine.run.cluster import Cluster
from engine.run.crew import Crew
from engine.run.plan import Node
from engine.run.roles import Member, roles_of
from engine.run.same_code import revision

HERE = machine()
FAST, SLOW = replace(HERE, fingerprint="f" * 64, cpu="Fast"), replace(HERE, fingerprint="0" * 64, cpu="Slow")


def member(host: str, cpu: int = 4, bench: int = 0, of=FAST, sums: str = "exact", device=None, port: int = 1) -> Member:
    resources = {"cpu": cpu} | ({"bench": bench} if bench else {}) | ({"gpu": 2} if device else {})
    return Member(f"tcp://{host}:{port}", resources, of, sums, device)


def test_where_all_are_of_one_kind_each_may_do_everything():
    roles = roles_of([member("a", 4), member("b", 8)])
    assert (roles.machine, roles.timing, roles.counting, roles.note) == (FAST, (), (), None)
    # What every one of them has, so that none is left out; the host's lock keeps the rest of its cores idle.
    assert roles.takes == {"cpu": 4}


def test_benches_alone_time_whatever_the_others_are():
    roles = roles_of([member("a", 4, of=SLOW), member("b", 4, of=SLOW), member("c", 2, bench=1)])
    assert (roles.machine, roles.takes, roles.note) == (FAST, {"cpu": 2, "bench": 1}, None)
    # The resource keeps the others from it; nobody needs to be named.
    assert roles.timing == ()
    assert roles_of([member("a", 4, of=SLOW), member("c", 0, bench=1)]).takes == {"bench": 1}


def test_a_worker_that_is_given_neither_cores_nor_a_bench_does_not_time():
    # One for other work, in the cluster that it shares with ours.
    members = [member("a", 4), member("b", 0, of=SLOW), member("c", 0)]
    roles = roles_of(members)
    assert (roles.machine, roles.takes, roles.note) == (FAST, {"cpu": 4}, None)


def test_of_unlike_benches_the_most_time_and_the_others_are_named():
    members = [member("a", of=FAST), member("b", of=SLOW), member("c", of=FAST)]
    roles = roles_of(members)
    assert (roles.machine, roles.timing) == (FAST, ("a", "c"))
    assert roles.note is not None
    assert "on 2 of 3 workers (Fast" in roles.note
    assert "tcp://b:1 (Slow" in roles.note
    # The same for the same workers, in whatever order they came; of as many, always the same.
    assert roles_of(members[::-1]) == roles
    assert roles_of([member("a", of=FAST), member("b", of=SLOW)]).machine == SLOW


def test_a_host_that_has_both_kinds_is_told_apart_by_addresses():
    members = [member("a", of=FAST), member("b", of=FAST), member("a", of=SLOW, port=2)]
    assert roles_of(members).timing == ("b", "tcp://a:1")


def test_right_answers_are_counted_where_integer_sums_come_out_as_on_the_machine_of_the_keys():
    members = [member("a", bench=1), member("b", of=SLOW, sums="saturating"), member("c", of=SLOW)]
    roles = roles_of(members)
    assert (roles.sums, roles.counting) == ("exact", ("a", "c"))
    cluster = Cluster(None, FAST, 4, 12, False, crew=Crew("tcp://s:1", members, roles))  # type: ignore[arg-type]
    node = Node("1", "accuracy", (), {}, 1.0, ".npz")
    assert cluster.workers(node) == ("a", "c")
    assert cluster.workers(replace(node, kind="quantize")) == ()
    assert cluster.resources(replace(node, kind="latency")) == {"cpu": 4, "bench": 1}
    assert cluster.resources(node) == {"cpu": 1}
    # Of another provider answers are those of one machine, as times are.
    members = [member("a"), member("b"), member("c", of=SLOW)]
    cluster = Cluster(None, FAST, 4, 12, False, crew=Crew("tcp://s:1", members, roles_of(members)))  # type: ignore[arg-type]
    assert cluster.workers(node) == ()
    assert cluster.workers(replace(node, options={"provider": "OpenVINO", "computed_on": "f"})) == ("a", "b")


def test_unlike_devices_behind_the_resource_gpu_are_refused():
    assert roles_of([member("a", device="cuda"), member("b")]).device == "cuda"
    with pytest.raises(
        SetupError, match=r"tcp://a:1 has the resource gpu and computes on cuda, worker tcp://b:1 on mps"
    ):
        roles_of([member("a", device="cuda"), member("b", device="mps")])


def test_a_worker_that_came_later_with_another_release_or_library_refuses_every_node():
    node, own = Node("1", "export", (), {}, 1.0, None), revision()
    away = Away(HERE.fingerprint, HERE.cpu, "exact", "data", revision=own)
    with ready(node, away):
        pass
    older = own | {"libraries": own["libraries"] | {"onnxruntime": "1.0.0"}}
    for other, said in (
        (own | {"version": "9.9"}, "but the run is of 9.9; install 9.9 there"),
        (older, "but the run 1.0.0"),
    ):
        with (
            pytest.raises(SetupError, match=f"export: a worker that joined the run has .*{said}"),
            ready(node, replace(away, revision=other)),
        ):
            pass


def test_a_worker_that_came_later_and_is_another_machine_refuses_rather_than_times():
    away = Away(HERE.fingerprint, HERE.cpu, "exact", "data")
    node = Node("1", "latency", (), {}, 1.0, None)
    with ready(node, away):
        pass
    other = replace(away, machine="f" * 64, cpu="Fast 9000")
    with (
        pytest.raises(SetupError, match="latency: planned for Fast 9000, but this worker is another machine"),
        ready(node, other),
    ):
        pass
    with ready(replace(node, kind="export"), other):
        pass
    counting = ready(replace(node, kind="accuracy"), replace(away, sums="wrapping"))
    with pytest.raises(SetupError, match="planned for integer sums that are wrapping"), counting:
        pass
