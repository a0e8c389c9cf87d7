"""The watch WebSocket as a client sees it, and how it paces what it sends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from itertools import pairwise
from typing import Any

import aiohttp
import jsonschema
import pytest

from jupyter_mlenv.environments.job import Job, JobKind
from jupyter_mlenv.environments.model import Environment, State
from jupyter_mlenv.server.handlers import document
from jupyter_mlenv.server.watch import MAX_COMMAND_BYTES, MAX_LOG_CHARS, paced
from tests.server.conftest import Serve
from tests.support.api import TOKEN, Api
from tests.support.fakes import FakeEngine
from tests.support.waiting import eventually

START = {"preset": "small", "path": "project"}


DOCUMENTED = jsonschema.Draft202012Validator({**document(), "$ref": "#/components/schemas/Change"})
"""What the OpenAPI document says about messages."""


async def until(socket: Any, wanted: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    """All messages up to and with the first wanted one."""
    seen: list[dict[str, Any]] = []
    while not seen or not wanted(seen[-1]):
        message = await asyncio.wait_for(socket.receive(), 30)
        assert message.type is aiohttp.WSMsgType.TEXT, (message, seen)
        seen.append(json.loads(message.data))
        DOCUMENTED.validate(seen[-1])
    return seen


def ended(job: str) -> Callable[[dict[str, Any]], bool]:
    return lambda message: (
        message["type"] == "job" and message["job"]["id"] == job and message["job"]["state"] != "running"
    )


def about(id: str, state: str) -> Callable[[dict[str, Any]], bool]:
    return lambda message: (
        message["type"] == "environment"
        and message["environment"]["id"] == id
        and message["environment"]["state"] == state
    )


async def test_a_watcher_sees_a_start_a_stop_and_a_removal(api: Api) -> None:
    async with api.watch() as socket:
        (first,) = await until(socket, lambda message: True)
        assert first == {"type": "snapshot", "environments": [], "jobs": []}
        begun = (await api.post("environments", START)).body
        id = begun["environment"]["id"]
        seen = await until(socket, ended(begun["job"]["id"]))
        if not any(about(id, "running")(message) for message in seen):
            await until(socket, about(id, "running"))
        await api.post(f"environments/{id}/stop")
        await until(socket, about(id, "stopped"))
        await api.delete(f"environments/{id}")
        await until(socket, lambda message: message == {"type": "removed", "id": id})


async def test_a_late_watcher_gets_what_is_there(api: Api) -> None:
    begun = (await api.post("environments", START)).body
    await api.ended(begun["job"]["id"])
    async with api.watch() as socket:
        (snapshot,) = await until(socket, lambda message: True)
    assert [e["id"] for e in snapshot["environments"]] == [begun["environment"]["id"]]
    assert [j["id"] for j in snapshot["jobs"]] == [begun["job"]["id"]]
    assert snapshot["environments"][0]["endpoints"]["notebook"]["url"].startswith("/user/alice%40b/mlenv/envs/")


async def test_the_log_of_a_job_is_followed_from_where_the_client_says(api: Api, fake: FakeEngine) -> None:
    fake.delays["layer"] = 0.05
    fake.registry["registry.test/small:1"] = [10] * 8
    begun = (await api.post("environments", START)).body
    job = begun["job"]["id"]
    async with api.watch() as socket:
        await socket.send_json({"type": "follow", "job": job, "since": 2})
        lines: dict[int, str] = {}

        def complete(message: dict[str, Any]) -> bool:
            if message["type"] == "log":
                assert message["job"] == job
                lines.update(enumerate(message["lines"], message["from"]))
            return "layer 7: Pull complete" in lines.values()

        await until(socket, complete)
    whole = (await api.get(f"jobs/{job}/log")).body["lines"]
    assert min(lines) == 2
    assert [lines[n] for n in sorted(lines)] == whole[2 : 2 + len(lines)]


async def test_a_log_that_is_no_longer_followed_is_silent(api: Api, fake: FakeEngine) -> None:
    fake.delays["layer"] = 0.02
    fake.registry["registry.test/small:1"] = [10] * 40
    begun = (await api.post("environments", START)).body
    job = begun["job"]["id"]
    async with api.watch() as socket:
        await socket.send_json({"type": "follow", "job": job})
        await until(socket, lambda message: message["type"] == "log")
        await socket.send_json({"type": "unfollow", "job": job})
        await socket.send_json({"type": "follow", "job": "unknown0"})  # its answer comes after the unfollow was obeyed
        await until(socket, lambda message: message["type"] == "error")
        rest = await until(socket, ended(job))
    assert not [message for message in rest if message["type"] == "log"]


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ('{"type": "follow", "job": "0123456789abcdef"}', "job_not_found"),
        ('{"type": "follow", "job": "../x"}', "job_not_found"),
        ('{"type": "follow"}', "job_not_found"),
        ('{"type": "shout", "job": "a"}', "request_invalid"),
        ('{"type": "follow", "job": "a", "since": -1}', "request_invalid"),
        ('{"type": "follow", "job": "a", "form": 1}', "request_invalid"),
        ("not json", "request_invalid"),
    ],
)
async def test_a_command_that_cannot_be_obeyed_is_answered(api: Api, message: str, code: str) -> None:
    async with api.watch() as socket:
        await socket.send_str(message)
        seen = await until(socket, lambda change: change["type"] == "error")
        assert seen[-1]["error"]["code"] == code
        await socket.send_str('{"type": "unfollow", "job": "a"}')  # and the connection lives on
        await api.post("environments", START)
        await until(socket, lambda change: change["type"] == "job")


async def test_a_huge_message_ends_the_connection(api: Api) -> None:
    async with api.watch() as socket:
        await socket.send_str("x" * (MAX_COMMAND_BYTES + 1))
        while (message := await socket.receive()).type is aiohttp.WSMsgType.TEXT:
            pass
        assert message.type is aiohttp.WSMsgType.CLOSE
        assert socket.close_code == 1009


async def test_the_engine_going_and_coming_back_is_told(api: Api, fake: FakeEngine) -> None:
    async with api.watch() as socket:
        await until(socket, lambda message: message["type"] == "snapshot")
        await eventually(lambda: fake.calls["events"], "the engine is followed")
        fake.down()
        await until(socket, lambda message: message == {"type": "engine", "state": "disconnected"})
        fake.up()
        await until(socket, lambda message: message["type"] == "snapshot")


async def test_nobody_watches_without_a_login_or_from_another_web_site(api: Api) -> None:
    async with api.session.get(api.url(f"engine?token={TOKEN}")) as answer:
        cookie = "; ".join(f"{name}={morsel.value}" for name, morsel in answer.cookies.items())
    async with api.watch(headers={"Cookie": cookie}):
        pass
    async with api.watch(headers={"Cookie": cookie, "Origin": f"http://127.0.0.1:{api.port}"}):
        pass
    for headers in ({}, {"Cookie": cookie, "Origin": "https://evil.example"}):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with api.watch(headers=headers):
                pass
        assert refused.value.status == 403
    plain = await api.get("watch")
    assert (plain.status, plain.body["code"]) == (400, "request_invalid")


async def test_the_end_of_the_server_closes_the_watch(serve: Serve) -> None:
    async with serve() as api, aiohttp.ClientSession() as session:
        socket = await session.ws_connect(api.url("watch"), headers=api.headers)
        await until(socket, lambda message: True)
        await api.extension.stop_extension()
        message = await socket.receive()
        assert (message.type, socket.close_code) == (aiohttp.WSMsgType.CLOSE, 1001)
        await eventually(lambda: not api.app.web_app.settings["mlenv_watchers"], "nobody watches any more")


async def test_a_closed_watch_leaves_nothing_running(api: Api) -> None:
    begun = (await api.post("environments", START)).body
    async with api.watch() as socket:
        await socket.send_json({"type": "follow", "job": begun["job"]["id"]})
        await until(socket, lambda message: True)

    def tasks() -> list[str]:
        return [task.get_name() for task in asyncio.all_tasks() if task.get_name() == "mlenv-watch"]

    await eventually(lambda: not tasks(), "the watcher's tasks have ended")
    await eventually(lambda: not api.environments._changes._watchers, "nobody subscribes any more")


async def test_nothing_piles_up_for_a_client_that_does_not_read(api: Api) -> None:
    async def chatter(job: Job) -> Environment:
        for number in range(4000):
            job.log(f"{number} " + "x" * 5000)
            await asyncio.sleep(0)
        return Environment("chatty", "small", "", "", "", "/", State.RUNNING, "")

    chatty = await api.environments.jobs.start(JobKind.START, "chatty", chatter)
    async with api.watch() as socket:
        await socket.send_json({"type": "follow", "job": chatty.id})
        transport = socket._response.connection.transport
        transport.pause_reading()
        await chatty.wait()
        (watcher,) = api.app.web_app.settings["mlenv_watchers"]
        waiting = watcher.ws_connection.stream._write_buffer
        assert len(waiting) <= 2 * MAX_LOG_CHARS, "more waits than the one message that is being sent"
        transport.resume_reading()
        seen = await until(
            socket, lambda message: message["type"] == "log" and message["lines"][-1].startswith("3999 ")
        )
    logs = [message for message in seen if message["type"] == "log"]
    assert sum(len(message["lines"]) for message in logs) < 4000, "lines were lost to the ring, and it says so"
    for before, after in pairwise(logs):
        assert after["from"] >= before["from"] + len(before["lines"])


def job(id: str, current: int, state: str = "running") -> dict[str, Any]:
    return {"type": "job", "job": {"id": id, "state": state, "progress": {"current": current}}}


async def test_a_chatty_job_is_thinned_out_and_its_end_comes_last() -> None:
    async def chatter() -> AsyncIterator[dict[str, Any]]:
        for number in range(1000):
            yield job("a", number)
            if number == 500:
                yield {"type": "removed", "id": "x"}
        yield job("a", 1000, "done")

    async with aclosing(paced(chatter(), interval=60)) as changes:
        seen = [change async for change in changes]
    assert seen == [job("a", 0), {"type": "removed", "id": "x"}, job("a", 1000, "done")]


async def test_the_newest_progress_is_sent_when_its_time_has_come() -> None:
    silence = asyncio.Event()

    async def chatter() -> AsyncIterator[dict[str, Any]]:
        for number in range(10):
            yield job("a", number)
        await silence.wait()

    async with aclosing(paced(chatter(), interval=0.05)) as changes:
        assert [await anext(changes), await anext(changes)] == [job("a", 0), job("a", 9)]


async def test_jobs_are_paced_each_for_itself_and_a_snapshot_is_newer_than_what_waits() -> None:
    snapshot = {"type": "snapshot", "environments": [], "jobs": []}

    async def chatter() -> AsyncIterator[dict[str, Any]]:
        for number in range(3):
            yield job("a", number)
            yield job("b", number)
        yield snapshot

    async with aclosing(paced(chatter(), interval=60)) as changes:
        assert [change async for change in changes] == [job("a", 0), job("b", 0), snapshot]
