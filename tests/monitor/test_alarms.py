"""What is seen becomes alarms, and becomes none where nothing is wrong. No clock, no I/O."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from leaderlock import FencingToken, LeaderInfo
from leaderlock.backends.base import Reading
from leaderlock.monitor.alarms import GRACE, MOST_PAST, Kind
from leaderlock.monitor.beliefs import MOST_BELIEFS
from leaderlock.monitor.metrics import MonitorCollector
from leaderlock.monitor.report import BadReport, read_report
from leaderlock.monitor.state import HOLD, MOST_NODES, MOST_OUTAGES, MOST_TERMS, Election, State
from leaderlock.monitor.watcher import sound
from leaderlock.monitor.web import _encode
from leaderlock.observer import decode_reading


def token(value: int, epoch: int = 1, source: str = "s") -> FencingToken:
    return FencingToken(epoch, value, source)


def leader(name: str, value: int, epoch: int = 1, source: str = "s") -> LeaderInfo:
    return LeaderInfo(name, token(value, epoch, source), {"host": name})


class World:
    """A monitor's state, and a time that the test moves."""

    def __init__(self, **settings: Any) -> None:
        self.state = State("n", **{"leaderless": 30.0, "most": 100, **settings})
        self.now = 1000.0
        self.state.add("e", self.now, is_named=True)

    def see(self, info: LeaderInfo | None, name: str = "e") -> None:
        self.state.see(name, info, self.now)

    def after(self, seconds: float) -> dict[str, str]:
        """The alarms some time later, by kind."""
        self.state.tick(self.now)
        self.now += seconds
        self.state.tick(self.now)
        return {kind.value: alarm.why for (kind, _), alarm in self.state.alarms.present.items()}


class Node:
    """A node with a clock of its own, whose reports and answers take their time."""

    def __init__(self, world: World, name: str, *, ahead: float = 0.0, rate: float = 1.0) -> None:
        self.world, self.name = world, name
        self._ahead, self._rate = ahead, rate
        self._echo: tuple[float, float] | None = None

    def clock(self) -> float:
        return self._ahead + self.world.now * self._rate

    def report(
        self,
        *beliefs: tuple[str, int, float, float],
        way: float = 0.0,
        back: float = 0.0,
        **more: Any,
    ) -> None:
        """Beliefs: candidate, token, since and until by the node's clock. Moves the time on."""
        rows = [
            {
                "election": "e",
                "candidate": candidate,
                "token": str(token(value)),
                "source": self.name if more.get("own_store") else "s",
                "since": max(0.0, self.clock() - since),
                "until": max(0.0, self.clock() - until),
                "over": more.get("over"),
                "problem": more.get("problem", ""),
            }
            for candidate, value, since, until in beliefs
        ]
        body = {"node": self.name, "store": "s", "namespace": "n", "interval": 1, "beliefs": rows}
        if self._echo is not None:
            stamp, at = self._echo
            body["echo"] = {"monitor": "m", "stamp": stamp, "age": self.clock() - at}
        self.world.now += way
        self.world.state.tell(read_report(json.dumps(body).encode()), "m", self.world.now)
        stamp = self.world.now
        self.world.now += back
        self._echo = stamp, self.clock()


@pytest.fixture
def world() -> World:
    return World()


# Two leaders


def test_two_who_believe_at_once_are_a_split_brain_and_it_is_shown_for_a_while(
    world: World,
) -> None:
    a, b = Node(world, "a", ahead=5e6), Node(world, "b", ahead=-900)
    started = a.clock(), b.clock()
    for _ in range(4):
        world.now += 1
        a.report(("web-1", 1, started[0], a.clock()))
        b.report(("web-2", 2, started[1], b.clock()))
    said = world.after(0)["split_brain"]
    assert "'web-1' (token 1, epoch 1) and 'web-2' (token 2, epoch 1) believed" in said
    assert "split_brain" in world.after(HOLD - 1)
    assert "split_brain" not in world.after(2)
    assert world.state.alarms.past[0].resolved == world.now


def test_a_belief_that_is_told_of_late_counts_all_the_same(world: World) -> None:
    """A node that was cut off from the monitor, but not from its belief."""
    a, b = Node(world, "a"), Node(world, "b")
    a.report()
    b.report()
    began = world.now + 5
    world.now = began + 20
    b.report(("web-2", 2, began, world.now))
    assert "split_brain" not in world.after(0)
    world.now += 60
    a.report(("web-1", 1, began + 10, began + 12), over="taken")
    assert "for at least 2.0 s" in world.after(0)["split_brain"]


@pytest.mark.parametrize("seed", range(60))
def test_a_hand_over_is_no_split_brain_however_late_and_skewed_the_reports(seed: int) -> None:
    """Terms follow each other without a gap; clocks are wrong and drift; messages take seconds."""
    chance, world = random.Random(seed), World()
    nodes = [
        Node(world, name, ahead=chance.uniform(-1e6, 1e6), rate=1 + chance.uniform(-1e-4, 1e-4))
        for name in ("a", "b", "c")
    ]
    for value in range(1, 12):
        node = chance.choice(nodes)
        name = f"{node.name}-{value}"
        since = node.clock()
        for _ in range(chance.randrange(1, 5)):
            world.now += chance.choice((0.0, 0.001, 0.5, 30.0))
            way, back = chance.choice((0, 0.002, 2.0)), chance.choice((0, 0.002, 2.0))
            node.report((name, value, since, node.clock()), way=way, back=back)
        until = node.clock()  # and at this moment the next one begins
        if chance.random() < 0.7:
            node.report((name, value, since, until), way=0.0, over="resigned")
        world.state.tick(world.now)
    assert world.state.alarms.counts[Kind.SPLIT_BRAIN] == 0


def test_an_overlap_is_found_however_the_clocks_are_set() -> None:
    for seed in range(30):
        chance, world = random.Random(seed), World()
        a, b = (
            Node(world, name, ahead=chance.uniform(-1e6, 1e6), rate=1 + chance.uniform(-1e-4, 1e-4))
            for name in ("a", "b")
        )
        since = a.clock(), b.clock()
        for _ in range(8):
            world.now += 1
            a.report(("web-1", 1, since[0], a.clock()), way=0.05, back=0.05)
            b.report(("web-2", 2, since[1], b.clock()), way=0.05, back=0.05)
        assert "split_brain" in world.after(0), seed


def test_an_echo_of_another_monitor_proves_nothing(world: World) -> None:
    for name in ("a", "b"):
        row = {
            "election": "e", "candidate": name, "token": str(token(1 + ord(name))), "source": "s",
            "since": 50.0, "until": 0.0,
        }  # fmt: skip
        for monitor in ("another", "m"):
            body = {
                "node": name, "store": "s", "namespace": "n", "interval": 1, "beliefs": [row],
                "echo": {"monitor": monitor, "stamp": world.now - 9, "age": 9},
            }  # fmt: skip
            if monitor == "another" or name == "a":
                world.state.tell(read_report(json.dumps(body).encode()), "m", world.now)
    assert "split_brain" not in world.after(0)


def test_a_stamp_of_the_future_proves_no_more_than_one_of_now(world: World) -> None:
    report = read_report(
        json.dumps(
            {
                "node": "a", "store": "s", "namespace": "n", "interval": 1,
                "echo": {"monitor": "m", "stamp": world.now + 1e9, "age": 0},
                "beliefs": [
                    {
                        "election": "e", "candidate": "a", "token": str(token(1)),
                        "since": 9, "until": 0,
                    }
                ],
            }
        ).encode()
    )  # fmt: skip
    world.state.tell(report, "m", world.now)
    (belief,) = world.state.elections["e"].beliefs
    assert belief.until == world.now


def test_one_term_that_is_told_of_twice_is_one(world: World) -> None:
    a = Node(world, "a")
    since = a.clock()
    for _ in range(3):
        world.now += 1
        a.report(("web-1", 1, since, a.clock()), ("web-1", 1, since, a.clock()))
    assert "split_brain" not in world.after(0)


def test_the_same_token_of_two_stores_is_two_terms(world: World) -> None:
    """Each node has been given a store of its own: the plainest of all split brains."""
    a, b = Node(world, "a"), Node(world, "b")
    since = world.now
    for _ in range(3):
        world.now += 1
        a.report(("web-1", 1, since, a.clock()), own_store=True)
        b.report(("web-2", 1, since, b.clock()), own_store=True)
    assert "in different stores" in world.after(0)["split_brain"]


# Tokens


def test_a_token_that_goes_back_is_an_alarm_until_one_is_higher_than_ever(world: World) -> None:
    world.see(leader("a", 7))
    world.see(leader("b", 3))
    assert "after token 0000000001.0000000000000000007" in world.after(0)["token_regressed"]
    assert "token_regressed" in world.after(10 * HOLD)
    world.see(leader("a", 1, epoch=2))
    assert "token_regressed" in world.after(HOLD - 1)
    assert "token_regressed" not in world.after(2)


def test_another_store_under_the_same_epoch_is_told_as_such(world: World) -> None:
    world.see(leader("a", 7))
    world.see(leader("b", 9, source="t"))
    assert "a token of another store" in world.after(0)["token_regressed"]


def test_a_new_store_with_a_new_epoch_is_as_it_should_be(world: World) -> None:
    world.see(leader("a", 7))
    world.see(None)
    world.see(leader("b", 1, epoch=2, source="t"))
    assert world.after(0) == {}


def test_two_terms_with_one_token_are_an_alarm(world: World) -> None:
    world.see(leader("a", 7))
    world.see(leader("b", 7))
    assert "which another term has had" in world.after(0)["token_regressed"]


def test_terms_that_follow_each_other_are_no_alarm(world: World) -> None:
    for value in range(1, 300):
        world.see(leader("ab"[value % 2], value))
        assert world.after(0.1) == {}
        if value % 3 == 0:
            world.see(None)
    assert len(world.state.elections["e"].terms) == MOST_TERMS


# Nobody


def test_nobody_for_too_long_is_an_alarm_until_somebody_leads(world: World) -> None:
    world.see(leader("a", 1))
    world.after(100)
    world.see(None)
    assert world.after(29) == {}
    assert "leaderless" in world.after(2)
    world.see(leader("b", 2))
    assert world.after(0) == {}


def test_what_was_found_by_itself_and_has_no_leader_is_nobodys_concern(world: World) -> None:
    world.state.listed({"old-job"}, world.now)
    world.see(None, "old-job")
    assert world.after(1000) == {}
    world.see(leader("a", 1), "old-job")
    world.see(None, "old-job")
    assert "leaderless" in world.after(31)


def test_zero_means_never() -> None:
    world = World(leaderless=0.0)
    world.see(None)
    assert world.after(1e6) == {}


def test_an_election_that_was_not_read_yet_is_not_leaderless(world: World) -> None:
    assert world.after(1000) == {}


# The store


def test_a_silent_store_is_an_alarm_of_its_own_and_nobody_is_called_leaderless(
    world: World,
) -> None:
    world.see(None)
    world.after(20)
    world.state.store_fails("connection refused", world.now)
    assert world.after(GRACE[Kind.STORE_UNREACHABLE] - 1) == {}
    alarms = world.after(60)
    assert set(alarms) == {"store_unreachable"}
    assert "connection refused" in alarms["store_unreachable"]
    world.state.store_answers(world.now)
    assert world.after(0) == {}
    # Somebody may have led meanwhile: the time counts from now.
    assert world.after(29) == {}
    assert "leaderless" in world.after(2)


def test_a_short_silence_is_no_alarm(world: World) -> None:
    for _ in range(50):
        world.state.store_fails("?", world.now)
        assert world.after(3) == {}
        world.state.store_answers(world.now)
        assert world.after(3) == {}
    assert len(world.state.outages) == MOST_OUTAGES


def test_an_alarm_is_not_resolved_by_knowing_less(world: World) -> None:
    world.see(None)
    world.after(31)
    world.state.store_fails("?", world.now)
    assert set(world.after(60)) == {"leaderless", "store_unreachable"}


def test_one_election_that_cannot_be_read_is_named(world: World) -> None:
    world.state.fail("e", "the store shows a leader that leaderlock cannot read")
    assert "cannot read" in world.after(0) or world.after(10)["store_unreachable"]
    assert [key[1] for key in world.state.alarms.present] == ["e"]
    world.see(None)
    assert world.after(0) == {}


# Health


def test_a_leader_that_cannot_renew_is_an_alarm_until_it_can(world: World) -> None:
    a = Node(world, "a")
    since = a.clock()
    for _ in range(2):
        a.report(("web-1", 1, since, a.clock()), problem="no answer from the store")
        assert world.after(0.9) == {}
    a.report(("web-1", 1, since, a.clock()), problem="no answer from the store")
    assert world.after(0.9) != {}
    said = world.after(0)["leader_failing"]
    assert said == "'web-1': no answer from the store"
    world.now += 1
    a.report(("web-1", 1, since, a.clock()))
    assert world.after(0) == {}


def test_a_leader_that_fails_for_a_moment_wakes_nobody(world: World) -> None:
    a = Node(world, "a")
    since = a.clock()
    for second in range(20):
        a.report(("web-1", 1, since, a.clock()), problem="?" if second % 3 == 0 else "")
        assert world.after(1) == {}


def test_a_node_that_has_gone_is_not_failing_any_more(world: World) -> None:
    a = Node(world, "a")
    since = a.clock()
    for _ in range(5):
        a.report(("web-1", 1, since, a.clock()), problem="?")
        world.after(1)
    assert "leader_failing" in world.after(0)
    assert world.after(10) == {}
    (belief,) = world.state.as_json(world.now)["elections"][0]["beliefs"]
    assert (belief["open"], belief["silent"]) == (False, True)


# Bounds


def test_nothing_grows_without_a_bound() -> None:
    world = World(most=50)
    for number in range(1200):
        node = Node(world, f"node-{number}")
        node.report((f"c-{number}", number + 1, node.clock(), node.clock()))
        world.state.listed({f"job-{number}"}, world.now)
        world.see(None, f"job-{number}")
        world.see(leader("a", 10_000 - number))
        world.after(10 if number % 50 == 0 else 0.01)
        world.state.store_fails("?", world.now)
        world.state.store_answers(world.now)
    state = world.state
    assert len(state.elections) <= 50
    assert len(state.nodes) <= MOST_NODES
    assert len(list(state.elections["e"].beliefs)) <= MOST_BELIEFS
    assert len(state.elections["e"].terms) <= MOST_TERMS
    assert len(state.alarms.past) <= MOST_PAST
    assert len(json.dumps(state.as_json(world.now))) < 200_000


def test_where_there_is_no_room_who_is_led_stays_and_the_others_are_counted() -> None:
    world = World(most=3)
    for name in ("f", "g"):
        assert world.state.add(name, world.now)
        world.see(leader("a", 1), name)
    world.state.listed({"f", "g", "h", "i"}, world.now)
    assert set(world.state.elections) == {"e", "f", "g"}
    assert world.state.left_out == 2


def test_what_is_left_out_is_counted_also_where_nobody_leads() -> None:
    world = World(most=3)
    names = {f"job-{number}" for number in range(9)}
    for _ in range(5):
        world.state.listed(names, world.now)
        assert world.state.left_out == 7
        for name in names:
            world.see(None, name)
        world.now += 5


def test_what_nodes_make_up_keeps_nothing_out_that_the_store_has() -> None:
    world = World(most=5)
    for number in range(9):
        row = ROW | {"election": f"made-up-{number}"}
        world.state.tell(read_report(json.dumps(GOOD | {"beliefs": [row]}).encode()), "m", 0.0)
    assert len(world.state.elections) == 5
    world.state.tick(world.now)
    stored = {"f", "g", "h"}
    world.state.listed(stored, world.now)
    assert stored | {"e"} < world.state.elections.keys()
    assert world.state.left_out == 0
    world.see(None, "f")
    world.state.tick(world.now)
    for number in range(9):  # nor does it push out what nobody leads
        row = ROW | {"election": f"made-up-{number}"}
        world.state.tell(read_report(json.dumps(GOOD | {"beliefs": [row]}).encode()), "m", 0.0)
    assert stored | {"e"} < world.state.elections.keys()


def test_an_election_that_comes_in_place_of_another_one_is_new(world: World) -> None:
    world = World(most=2)
    found = []
    for number in range(3):
        row = ROW | {"election": f"f-{number}", "over": "resigned"}
        report = read_report(json.dumps(GOOD | {"beliefs": [row]}).encode())
        world.state.tick(world.now)
        found.append(world.state.tell(report, "m", world.now))
        found.append(world.state.tell(report, "m", world.now))
        world.see(None, f"f-{number}")
    assert found == [True, False] * 3


def test_what_a_node_reports_in_place_of_one_that_is_forgotten_is_new() -> None:
    world = World(most=2)
    world.state.add("idle", world.now)
    world.see(None, "idle")
    world.state.tick(world.now)
    body = json.dumps(GOOD | {"beliefs": [ROW | {"election": "busy"}]}).encode()
    assert world.state.tell(read_report(body), "m", world.now), "it has to be read, too"
    assert set(world.state.elections) == {"e", "busy"}
    assert not world.state.tell(read_report(body), "m", world.now)


def test_thousands_too_many_cost_no_look_at_all_that_are_kept_for_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked: list[str] = []
    monkeypatch.setattr(Election, "is_idle", property(lambda self: looked.append(self.name)))
    world = World(most=100)
    names = {f"job-{number}" for number in range(2000)}
    world.state.listed(names, world.now)
    world.state.tick(world.now)
    world.state.listed(names, world.now)
    assert world.state.left_out == 2000 - 99
    assert len(looked) <= 100


def test_where_elections_are_named_what_nodes_report_of_others_is_left_alone() -> None:
    world = World(only_named=True)
    world.state.elections.clear()
    world.state.add("f", world.now, is_named=True)
    Node(world, "a").report(("web-1", 1, world.now, world.now))
    assert set(world.state.elections) == {"f"}


def test_only_what_has_changed_is_told_again(world: World) -> None:
    world.state.add("f", world.now)
    before = world.state.as_json(world.now)["version"]
    world.see(leader("a", 1), "f")
    told = world.state.as_json(world.now, before)
    assert ([e["name"] for e in told["elections"]], told["whole"]) == (["f"], False)


def test_what_is_read_again_and_is_the_same_is_not_told_again(world: World) -> None:
    """On some stores every leader is read again with every lease."""
    for info in None, leader("a", 1), None:
        world.see(info)
        before = world.state.version
        world.now += 5
        world.see(info)
        assert world.state.version == before
    world.state.fail("e", "?")
    before = world.state.version
    world.see(None)
    assert world.state.version > before


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "x" * 5000])
def test_metadata_that_json_or_a_page_cannot_hold_are_not_handed_on(
    world: World, value: object
) -> None:
    world.see(LeaderInfo("a", token(1), {"k": value}))
    shown = json.dumps(world.state.as_json(world.now), allow_nan=False)
    assert "cannot be shown" in shown


def test_metadata_that_are_as_deep_as_can_be_read_leave_all_else_to_be_seen(world: World) -> None:
    """What can be encoded by itself may be too deep as a part of something."""
    for depth in range(500, 1000):
        try:
            metadata = {"k": json.loads("[" * depth + "]" * depth)}
        except RecursionError:
            return
        world.see(LeaderInfo("a", token(1), metadata))
        _encode({"monitor": {}, **world.state.as_json(world.now)})


@pytest.mark.parametrize(
    ("name", "metadata"), [("x" * 5000, '{"k": "%s"}' % ("y" * 9000)), ("\\u0000", '{"k": 1e400}')]
)
def test_whatever_else_has_written_there_is_shown_as_text_and_breaks_nothing(
    world: World, name: str, metadata: str
) -> None:
    payload = f'{{"id": "{name}", "epoch": 1, "meta": {metadata}}}'.encode()
    world.see(sound(decode_reading(Reading(payload=payload, token=1, source="s"))))
    shown = json.dumps(world.state.as_json(world.now), allow_nan=False).encode()
    page = MonitorCollector(world.state, "s", None).page(world.now)
    assert b"leaderlock_monitor_leader{" in page
    assert len(shown + page) < 20_000


# What may arrive

GOOD = {"node": "a", "store": "s", "namespace": "n", "interval": 1, "beliefs": []}
ROW = {"election": "e", "candidate": "c", "token": str(token(1)), "since": 1, "until": 0}


@pytest.mark.parametrize(
    "body",
    [
        b"", b"\xff", b"[]", b"null", b"1", b"{}", b"[" * 100_000, b'{"a":' * 50_000,
        json.dumps(GOOD | {"node": ""}), json.dumps(GOOD | {"node": 7}),
        json.dumps(GOOD | {"node": "x" * 256}), json.dumps(GOOD | {"interval": -1}),
        json.dumps(GOOD | {"interval": True}), json.dumps(GOOD | {"interval": 1e9}),
        '{"node": "a", "store": "s", "namespace": "n", "interval": NaN, "beliefs": []}',
        json.dumps(GOOD).replace(": 1,", f": {'9' * 4000},"),
        json.dumps(GOOD | {"beliefs": {}}), json.dumps(GOOD | {"beliefs": [1]}),
        json.dumps(GOOD | {"beliefs": [{}] * 2001}), json.dumps(GOOD | {"beliefs": [{}]}),
        json.dumps(GOOD | {"echo": 1}), json.dumps(GOOD | {"echo": {}}),
        json.dumps(GOOD | {"echo": {"monitor": "m", "stamp": "1", "age": 0}}),
        json.dumps(GOOD | {"beliefs": [ROW | {"token": "7"}]}),
        json.dumps(GOOD | {"beliefs": [ROW | {"token": 7}]}),
        json.dumps(GOOD | {"beliefs": [ROW | {"since": "1"}]}),
        json.dumps(GOOD | {"beliefs": [ROW | {"problem": "x" * 301}]}),
        json.dumps(GOOD | {"beliefs": [ROW | {"candidate": "\ud800"}]}),
    ],
)  # fmt: skip
def test_what_is_no_report_is_refused(body: str | bytes) -> None:
    with pytest.raises(BadReport):
        read_report(body.encode() if isinstance(body, str) else body)


def test_a_problem_is_one_line_among_those_of_others() -> None:
    row = ROW | {"problem": "no answer\nALARM: split_brain \u202e\x1b[2J\n"}
    (read,) = read_report(json.dumps(GOOD | {"beliefs": [row]}).encode()).rows
    assert read.problem == "no answer ALARM: split_brain   [2J"


def test_what_is_a_report_is_read() -> None:
    report = read_report(json.dumps(GOOD | {"beliefs": [ROW]}).encode())
    (row,) = report.rows
    assert (row.election, row.token, row.over) == ("e", token(1, source=""), None)
