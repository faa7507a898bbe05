"""All bodies together take a bounded room, and ordinary ones never wait."""

import asyncio

import pytest

from harvester.core.errors import ConnectionLost, NoResources
from harvester.transport.aiohttp import AiohttpTransport
from harvester.transport.messages import Request
from harvester.transport.room import FREE_BYTES, SHARED_BYTES, Place, Room
from tests.transport.test_transport import Exchange, ok, serving

MIB = 2**20


async def waits(place: Place, size: int) -> "asyncio.Task[None]":
    task = asyncio.create_task(place.extend_to(size))
    await asyncio.sleep(0)
    assert not task.done()
    return task


async def test_small_bodies_take_nothing_and_larger_ones_share() -> None:
    room = Room(2 * MIB)
    places = [Place(room) for _ in range(100)]
    for place in places:
        await place.extend_to(FREE_BYTES)
    for place in places[:2]:
        await place.extend_to(FREE_BYTES + MIB)
    await places[2].extend_to(FREE_BYTES + 1)
    await waits(places[3], FREE_BYTES + 1)


async def test_one_body_at_a_time_goes_on_and_the_next_one_when_it_leaves() -> None:
    room = Room(0)
    first, second, third = Place(room), Place(room), Place(room)
    await first.extend_to(32 * MIB)
    await first.extend_to(64 * MIB)
    waiting, last = await waits(second, MIB), await waits(third, MIB)
    first.leave()
    first.leave()
    await waiting
    assert not last.done()
    second.leave()
    await last


async def test_what_was_shared_is_given_back() -> None:
    room = Room(MIB)
    for _ in range(10):
        place = Place(room)
        await place.extend_to(FREE_BYTES + MIB)
        place.leave()


async def test_a_place_that_nobody_has_any_more_is_left_on_whatever_thread() -> None:
    room = Room(0)
    places = [Place(room)]
    await places[0].extend_to(MIB)
    waiting = await waits(other := Place(room), MIB)
    await asyncio.to_thread(places.clear)
    await waiting
    other.leave()


async def test_who_is_cut_off_while_it_waits_leaves_no_hole() -> None:
    room = Room(0)
    first, second, third = Place(room), Place(room), Place(room)
    await first.extend_to(MIB)
    (await waits(second, MIB)).cancel()
    waiting = await waits(third, MIB)
    first.leave()
    await waiting


async def test_the_wait_for_room_is_no_time_of_the_attempt() -> None:
    """Nobody's DOI is to blame for it that another one has a large record."""

    async def answer(exchange: Exchange) -> None:
        await exchange.reply(ok(b"x" * (SHARED_BYTES + MIB)))

    async with serving(answer) as server, AiohttpTransport(connections=3) as transport:
        request = Request("GET", server.url(), timeout_seconds=0.4)
        first = await transport.send(request)
        second = asyncio.create_task(transport.send(request))
        await asyncio.sleep(0.8)
        assert not second.done()
        assert first.place is not None
        first.place.leave()
        assert len((await second).body) == SHARED_BYTES + MIB


async def test_a_body_that_breaks_off_after_it_waited_for_memory_is_nobodys_fault() -> None:
    """The server saw a client that did not read, because of the large records of others."""

    async def answer(exchange: Exchange) -> None:
        await exchange.reply(ok(b"x" * (SHARED_BYTES + MIB)))

    async def breaks_off(exchange: Exchange) -> None:
        await exchange.reply(ok(b"x" * (SHARED_BYTES + MIB))[: -MIB // 2])
        exchange.writer.close()

    async with AiohttpTransport(connections=3) as transport, serving(answer) as one, serving(breaks_off) as other:
        first = await transport.send(Request("GET", one.url()))
        second = asyncio.create_task(transport.send(Request("GET", other.url())))
        await asyncio.sleep(0.2)
        assert not second.done()
        assert first.place is not None
        first.place.leave()
        with pytest.raises(NoResources, match="waited for memory"):
            await second
        with pytest.raises(ConnectionLost) as alone:
            await transport.send(Request("GET", other.url()))
        assert not isinstance(alone.value, NoResources)
