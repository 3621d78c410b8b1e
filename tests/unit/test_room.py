"""Room for bodies: who waits, who comes next, and that nothing of it is lost."""

import asyncio

import pytest

from pipeline.fetching.room import Room


def run(main):
    return asyncio.run(asyncio.wait_for(main, 10))


async def settle():
    for _ in range(5):
        await asyncio.sleep(0)


def test_who_wants_more_than_is_free_waits_and_nobody_overtakes():
    async def main():
        room, order = Room(10), []

        async def want(name, num_bytes):
            await room.take(num_bytes)
            order.append(name)

        await room.take(6)
        waiting = [asyncio.create_task(want("large", 8)), asyncio.create_task(want("small", 1))]
        await settle()
        assert order == []
        assert not room.take_at_once(1), "the small one would have to wait longer"
        room.give(6)
        await settle()
        assert order == ["large", "small"]
        await asyncio.gather(*waiting)
        assert room.take_at_once(1)
        assert not room.take_at_once(1)

    run(main())


def test_who_wants_more_than_there_is_has_all_of_it_and_gives_it_back():
    async def main():
        room = Room(10)
        await room.take(1_000)
        assert not room.take_at_once(1)
        room.give(1_000)
        assert room.take_at_once(10)

    run(main())


@pytest.mark.parametrize("is_served", [False, True])
def test_who_gives_up_waiting_holds_nothing_and_is_in_nobody_s_way(is_served):
    async def main():
        room = Room(10)
        await room.take(6)
        large = asyncio.create_task(room.take(8))
        small = asyncio.create_task(room.take(4))
        await settle()
        if is_served:
            room.give(6)  # the large one has its place, and does not know yet
        large.cancel()
        with pytest.raises(asyncio.CancelledError):
            await large
        await small
        assert room.take_at_once(6 if is_served else 0)
        assert not room.take_at_once(1)

    run(main())
