"""Whose step comes next: lanes, members' turns, shortest remaining first, ageing. No torch work."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from generation.engine.order import TURN, Order
from generation.engine.request import Request
from generation.recipe import Lane


def request(arrival: int, *, lane: Lane = Lane.FAST, member: str = "", steps: int = 10, rows: int = 8) -> Request:
    made = Request(str(arrival), lane, lambda: None, arrival=arrival, member=member, on_end=lambda *_: None)
    made.total_steps, made.work = steps, rows
    return made


def play(order: Order, requests: list[Request]) -> list[str]:
    """Serves one request a step until all are done; the ids in the order of their ends."""
    for one in requests:
        order.enter(one)
    left, ends = list(requests), []
    while left:
        first = order.ranking(left)[0]
        order.charge(first, first.work)
        first.steps_done += 1
        if first.steps_done == first.total_steps:
            left.remove(first)
            order.leave(first)
            ends.append(first.id)
    return ends


def test_a_better_lane_always_goes_first() -> None:
    relaxed = request(0, lane=Lane.RELAX, steps=1)
    fast = request(1, steps=20)
    turbo = request(2, lane=Lane.TURBO, steps=50)
    assert play(Order(), [relaxed, fast, turbo]) == ["2", "1", "0"]


def test_the_shortest_remaining_goes_first_and_equals_by_age() -> None:
    assert play(Order(), [request(0, steps=9), request(1, steps=5), request(2, steps=5)]) == ["1", "2", "0"]


def test_rows_count_as_work() -> None:
    assert play(Order(), [request(0, steps=10, rows=8), request(1, steps=30, rows=2)]) == ["1", "0"]


def test_equal_requests_of_two_members_are_not_interleaved() -> None:
    """Their mean end would be later, nobody's earlier."""
    order = Order()
    requests = [request(0, member="a", steps=20), request(1, member="b", steps=20)]
    assert play(order, requests) == ["0", "1"]


def test_a_member_with_many_requests_waits_for_one_with_few() -> None:
    many = [request(i, member="many", steps=25) for i in range(8)]
    few = request(8, member="few", steps=50)
    ends = play(Order(), [*many, few])
    assert ends.index("8") <= TURN // (25 * 8) + 1


def test_who_comes_later_starts_level() -> None:
    """Having been away earns no turns, and having been there costs none."""
    order = Order()
    old = request(0, member="old", steps=1000)
    order.enter(old)
    for _ in range(500):
        order.charge(old, 8)
    new = request(1, member="new", steps=2000)
    order.enter(new)
    served = {"0": 0, "1": 0}
    for _ in range(400):
        first = order.ranking([old, new])[0]
        order.charge(first, first.work)
        first.steps_done += 1
        served[first.id] += 1
    assert abs(served["0"] - served["1"]) <= 2 * TURN // 8


def test_a_long_request_is_overtaken_only_so_often() -> None:
    order = Order()
    long = request(0, steps=50)
    order.enter(long)
    overtaken = 0
    while True:
        short = request(1 + overtaken, steps=4)
        order.enter(short)
        if order.ranking([short, long])[0] is long:
            break
        for _ in range(4):
            order.charge(short, short.work)
        order.leave(short)
        overtaken += 1
        assert overtaken < 1000
    assert overtaken > 50


@given(
    st.lists(
        st.tuples(st.sampled_from(list(Lane)), st.sampled_from("abc"), st.integers(1, 60), st.integers(1, 16)),
        min_size=1,
        max_size=12,
    )
)
def test_everybody_is_served_and_lanes_hold(wanted: list[tuple[Lane, str, int, int]]) -> None:
    requests = [
        request(i, lane=lane, member=member, steps=steps, rows=rows)
        for i, (lane, member, steps, rows) in enumerate(wanted)
    ]
    ends = play(Order(), requests)
    assert sorted(ends) == sorted(one.id for one in requests)
    lanes = [next(one for one in requests if one.id == end).lane_rank for end in ends]
    assert lanes == sorted(lanes)
