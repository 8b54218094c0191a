"""Who is heard before others are answered: in turns between users, and no user without bound."""

import zmq

from gshare.controller.identity import Credentials
from gshare.controller.inbox import MOST_BYTES_EACH, MOST_EACH, Asked, Inbox


def asked(uid: int, number: int = 0, size: int = 1) -> Asked:
    return Asked(Credentials(uid, uid, 1), b"%d" % number, zmq.Frame(bytes(size)))


def taken(inbox: Inbox) -> list[tuple[int, int]]:
    found = []
    while inbox:
        one = inbox.take()
        found.append((one.sender.uid, int(one.client)))
    return found


def test_users_take_turns_and_each_ones_requests_stay_in_order() -> None:
    inbox = Inbox()
    for number in range(4):
        assert inbox.put(asked(1, number))
    assert inbox.take().sender.uid == 1
    for uid in (2, 3):
        assert inbox.put(asked(uid))
    assert taken(inbox) == [(1, 1), (2, 0), (3, 0), (1, 2), (1, 3)]


def test_no_user_has_more_than_so_much_in_it() -> None:
    inbox = Inbox()
    assert all(inbox.put(asked(1)) for _ in range(MOST_EACH))
    assert not inbox.put(asked(1))
    quarter = MOST_BYTES_EACH // 4
    assert [inbox.put(asked(2, size=quarter)) for _ in range(5)] == [True] * 4 + [False]
    assert inbox.put(asked(3))
    assert len(taken(inbox)) == MOST_EACH + 5
    assert all(inbox.put(asked(2, size=quarter)) for _ in range(4))
