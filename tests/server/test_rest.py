"""The REST API as a client sees it: a real Jupyter server, our real extension, an engine in memory."""

from __future__ import annotations

import asyncio
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest
from jupyter_server.auth.authorizer import Authorizer

from jupyter_mlenv.container_layout import LABEL
from jupyter_mlenv.errors import GpuUnavailable
from jupyter_mlenv.server.handlers import ROUTES
from tests.server.conftest import Serve
from tests.support.api import BASE_URL, TOKEN, Api
from tests.support.fakes import FakeEngine
from tests.support.waiting import eventually

VERBS = ("GET", "POST", "DELETE")


class ReadOnly(Authorizer):
    """Lets everybody look and nobody touch."""

    def is_authorized(self, handler: Any, user: Any, action: str, resource: str) -> bool:
        return resource != "mlenv" or action == "read"


async def started(api: Api, **body: Any) -> dict[str, Any]:
    answer = await api.post("environments", {"preset": "small", "path": "project", **body})
    assert answer.status == 202, answer.body
    job = await api.ended(answer.body["job"]["id"])
    assert job["state"] == "done", job
    environment: dict[str, Any] = (await api.get(f"environments/{answer.body['environment']['id']}")).body
    return environment


async def test_an_environment_lives_and_ends(api: Api, fake: FakeEngine, root: Path) -> None:
    environment = await started(api)
    at = f"environments/{environment['id']}"
    assert environment["state"] == "running"
    assert environment["workspace"] == str(root / "project")
    assert environment["endpoints"]["notebook"]["url"] == f"{BASE_URL}mlenv/envs/{environment['id']}/notebook/"
    (listed,) = (await api.get("environments")).body["environments"]
    assert listed == environment

    stopped = await api.post(f"{at}/stop")
    assert (stopped.status, stopped.body["state"]) == (200, "stopped")
    for verb in ("start", "restart"):
        answer = await api.post(f"{at}/{verb}")
        assert answer.status == 202
        assert (await api.ended(answer.body["job"]["id"]))["state"] == "done"
        assert (await api.get(at)).body["state"] == "running"
    assert isinstance((await api.get(f"{at}/logs?tail=5")).body["lines"], list)
    with socket.create_server(("127.0.0.1", 0)) as listener:  # the agent over this engine is a program of this machine
        port = listener.getsockname()[1]
        ports = {one["port"]: one for one in (await api.get(f"{at}/ports")).body["ports"]}
    id = environment["id"]
    assert ports[port]["app"] == f"{BASE_URL}mlenv/apps/{id}/{port}/"
    assert ports[port]["url"] == f"{BASE_URL}mlenv/envs/{id}/{port}/"

    gone = await api.delete(at)
    assert (gone.status, gone.body) == (204, None)
    assert fake.containers == {}
    again = await api.get(at)
    assert (again.status, again.body["code"]) == (404, "environment_not_found")


async def test_two_clicks_are_one_environment(api: Api, fake: FakeEngine) -> None:
    body = {"preset": "small", "path": "project"}
    first, second = await asyncio.gather(api.post("environments", body), api.post("environments", body))
    assert first.body["environment"]["id"] == second.body["environment"]["id"]
    for answer in (first, second):
        assert (await api.ended(answer.body["job"]["id"]))["state"] == "done"
    assert len(fake.containers) == 1


async def test_overrides_reach_the_container(api: Api, fake: FakeEngine, root: Path) -> None:
    (root / "data").mkdir()
    mounts = [{"source": str(root / "data"), "target": "/data", "read_only": True}]
    await started(api, memory="2g", cpus=1.5, mounts=mounts, name="second")
    (box,) = fake.containers.values()
    assert (box.spec.resources.memory, box.spec.resources.cpus) == (2 * 1024**3, 1.5)
    assert [m.read_only for m in box.spec.mounts if m.target == "/data"] == [True]


async def test_a_workspace_can_be_named(api: Api, root: Path) -> None:
    environment = await started(api, path="presets", workspace=str(root / "project"))
    assert environment["workspace"] == str(root / "project")


async def test_presets_say_what_is_ready_and_what_is_broken(api: Api, fake: FakeEngine, root: Path) -> None:
    (root / "presets" / "wrong.toml").write_text('[image]\nreference = "a"\n[resources]\nmemory = "much"\n')
    before = (await api.get("presets?path=project")).body
    assert before["workspace"] == str(root / "project")
    assert [p["ready"] for p in before["presets"] if p["name"] == "small"] == [False]
    assert [e["code"] for e in before["errors"]] == ["preset_invalid"]
    await started(api)
    after = (await api.get("presets")).body
    assert [p["ready"] for p in after["presets"] if p["name"] == "small"] == [True]
    assert after["workspace"] is None


async def test_with_no_engine_the_server_still_answers(api: Api, fake: FakeEngine) -> None:
    fake.down()
    status = await api.get("engine")
    assert status.status == 200
    assert (status.body["available"], status.body["error"]["code"]) == (False, "engine_unavailable")
    presets = await api.get("presets?path=project")
    assert presets.status == 200
    assert {p["ready"] for p in presets.body["presets"]} == {None}
    for answer in (
        await api.get("environments"),
        await api.post("environments", {"preset": "small", "path": "project"}),
    ):
        assert (answer.status, answer.body["code"]) == (503, "engine_unavailable")
        assert answer.body["hint"]
    fake.up()
    assert (await api.get("engine")).body["available"] is True


async def test_a_misspelt_preset_names_the_nearest(api: Api) -> None:
    answer = await api.post("environments", {"preset": "smal", "path": "project"})
    assert (answer.status, answer.body["code"]) == (404, "preset_not_found")
    assert "small" in answer.body["message"] + answer.body["hint"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "preset"),
        ({"preset": ""}, "preset"),
        ({"preset": 5}, "preset"),
        ({"preset": "small", "memroy": "8g"}, "memroy"),
        ({"preset": "small", "memory": "much"}, "memory"),
        ({"preset": "small", "memory": 5}, "memory"),
        ({"preset": "small", "memory": 2**80}, "memory"),
        ({"preset": "small", "cpus": 0}, "cpus"),
        ({"preset": "small", "cpus": True}, "cpus"),
        ({"preset": "small", "gpus": "two"}, "gpus"),
        ({"preset": "small", "name": "a\nb"}, "name"),
        ({"preset": "small", "name": "n" * 65}, "name"),
        ({"preset": "small", "path": "../outside"}, "path"),
        ({"preset": "small", "path": "a/../../outside"}, "path"),
        ({"preset": "small", "path": "a\0b"}, "path"),
        ({"preset": "small", "path": "\ud800"}, "path"),
        ({"preset": "small", "workspace": "relative"}, "workspace"),
        ({"preset": "small", "mounts": [{"source": "data"}]}, "mounts.source"),
        ({"preset": "small", "mounts": [{"source": "/data", "target": "/"}]}, "mounts.target"),
        ({"preset": "small", "mounts": "/data"}, "mounts"),
        ({"preset": "small", "recreate": "yes"}, "recreate"),
    ],
)
async def test_a_malformed_request_is_told_what_is_wrong(
    api: Api, fake: FakeEngine, body: dict[str, Any], field: str
) -> None:
    answer = await api.post("environments", body)
    assert (answer.status, answer.body["code"]) == (400, "request_invalid")
    assert answer.body["details"]["field"] == field
    assert fake.calls["create"] == 0


async def test_an_unknown_field_names_the_nearest(api: Api) -> None:
    answer = await api.post("environments", {"preset": "small", "memroy": "8g"})
    assert "'memory'" in answer.body["hint"]


@pytest.mark.parametrize("raw", [b"{", b"[]", b"\xff", b'"small"', b'{"preset": NaN}', b"[" * 100_000])
async def test_a_body_that_is_no_json_object(api: Api, raw: bytes) -> None:
    answer = await api.post("environments", raw=raw)
    assert (answer.status, answer.body["code"]) == (400, "request_invalid")


async def test_a_folder_that_may_not_be_a_workspace(api: Api, root: Path) -> None:
    (root / "out").symlink_to("/etc")
    answer = await api.post("environments", {"preset": "small", "path": "out"})
    assert (answer.status, answer.body["code"]) == (403, "workspace_forbidden")
    assert (await api.get("presets?path=out")).body["workspace"] is None
    missing = await api.post("environments", {"preset": "small", "path": "nowhere"})
    assert (missing.status, missing.body["code"]) == (404, "workspace_not_found")


async def test_mounts_stay_where_workspaces_may_be(serve: Serve, fake: FakeEngine, root: Path) -> None:
    confined = {"MlenvConfig": {"allowed_workspaces": [str(root)]}}
    async with serve(confined) as api:
        (root / "link").symlink_to("/etc/shadow")
        for source in ("/etc/shadow", str(root / "link"), str(root / "project/../../..")):
            body = {"preset": "small", "path": "project", "mounts": [{"source": source, "target": "/x"}]}
            answer = await api.post("environments", body)
            assert (answer.status, answer.body["code"]) == (403, "workspace_forbidden"), source
    assert fake.containers == {}


@pytest.mark.parametrize("id", ["none", "..%2F..%2Fimages%2Fjson", "a%00b", "%3Fall=1", "x" * 500])
async def test_an_id_that_is_not_ours_reaches_no_engine_url(api: Api, id: str) -> None:
    for verb, path in (
        ("GET", ""),
        ("DELETE", ""),
        ("POST", "/stop"),
        ("POST", "/start"),
        ("GET", "/logs"),
        ("GET", "/ports"),
    ):
        answer = await api.call(verb, f"environments/{id}{path}")
        assert (answer.status, answer.body["code"]) == (404, "environment_not_found")
    job = await api.get(f"jobs/{id}")
    assert (job.status, job.body["code"]) == (404, "job_not_found")


async def test_another_owners_environment_is_not_there(api: Api, fake: FakeEngine) -> None:
    environment = await started(api)
    (box,) = fake.containers.values()
    mine, theirs = box.info.labels, {**box.info.labels, "jupyter-mlenv.owner": "somebody"}
    object.__setattr__(box.info, "labels", theirs)
    assert (await api.get("environments")).body == {"environments": []}
    assert (await api.delete(f"environments/{environment['id']}")).status == 404
    assert fake.containers
    object.__setattr__(box.info, "labels", mine)


@pytest.mark.parametrize("tail", ["x", "-1", "0", "1e3", "99999999999999999999", "5&tail=6"])
async def test_a_tail_that_is_no_number(api: Api, tail: str) -> None:
    answer = await api.get(f"environments/small-0123456789/logs?tail={tail}")
    assert (answer.status, answer.body["details"]["field"]) == (400, "tail")


@pytest.mark.parametrize("path", ["a%00b", "%FF", "..", "a/../../b", "a&path=b", "x" * 5000])
async def test_a_path_that_cannot_be_one(api: Api, path: str) -> None:
    answer = await api.get(f"presets?path={path}")
    assert (answer.status, answer.body["details"]["field"]) == (400, "path")


async def test_a_job_can_be_followed_and_cancelled(api: Api, fake: FakeEngine) -> None:
    fake.delays["layer"] = 60
    begun = (await api.post("environments", {"preset": "small", "path": "project"})).body
    at = f"jobs/{begun['job']['id']}"

    async def logged() -> Any:
        return (await api.get(f"{at}/log")).body["lines"]

    lines = await eventually(logged, "the pull logs its first layer")
    job = (await api.get(at)).body
    assert (job["state"], job["progress"]["phase"], job["progress"]["unit"]) == ("running", "pull", "bytes")
    assert [one["id"] for one in (await api.get("jobs")).body["jobs"]] == [job["id"]]  # its clock goes on
    log = (await api.get(f"{at}/log?since={len(lines)}")).body
    assert log["next"] >= len(lines)
    assert (await api.delete(at)).status == 204
    ended = await api.ended(begun["job"]["id"])
    assert (ended["state"], ended["error"]["code"]) == ("cancelled", "job_cancelled")
    assert fake.containers == {}
    assert (await api.delete(at)).status == 204


async def test_a_start_that_fails_says_why_in_its_job(api: Api, fake: FakeEngine) -> None:
    fake.fail("start", GpuUnavailable("The engine gives no GPU.", hint="Use the CPU twin."))
    begun = (await api.post("environments", {"preset": "small", "path": "project"})).body
    job = await api.ended(begun["job"]["id"])
    assert (job["state"], job["error"]["code"]) == ("failed", "gpu_unavailable")


async def test_a_bug_is_an_error_object_without_a_traceback(api: Api, fake: FakeEngine) -> None:
    fake.fail("list", RuntimeError("secret detail"))  # type: ignore[arg-type]
    answer = await api.get("environments")
    assert (answer.status, answer.body["code"]) == (500, "internal_error")
    assert "secret detail" not in str(answer.body)


async def test_what_is_not_there_has_the_same_form(api: Api) -> None:
    for path in ("", "nothing", "environments/a/b/c", "jobs/1/2"):
        for verb in VERBS:
            answer = await api.call(verb, path)
            assert (answer.status, answer.body["code"]) == (404, "not_found")
    answer = await api.delete("engine")
    assert (answer.status, answer.body["code"]) == (405, "method_not_allowed")
    assert answer.headers["Allow"] == "GET, OPTIONS"


async def test_without_a_login_nothing_is_told_or_done(api: Api, fake: FakeEngine) -> None:
    environment = await started(api)
    before = dict(fake.calls)
    for path, _ in ROUTES:
        for verb in (*VERBS, "HEAD", "OPTIONS", "PUT", "PATCH"):
            url = path.replace("{id}", environment["id"])[1:]
            for headers in ({}, {"Origin": "https://evil.example", "Access-Control-Request-Method": "GET"}):
                answer = await api.call(verb, url, headers=headers)
                assert answer.status == 403, (verb, path)
                assert "Access-Control-Allow-Methods" not in answer.headers
            if verb != "HEAD":
                assert set(answer.body) == {"code", "message", "hint", "details", "log"}
    assert dict(fake.calls) == before


async def test_a_preflight_is_answered_where_the_origin_is_allowed(serve: Serve) -> None:
    """A browser cannot log in with it; what follows has to."""
    async with serve({"ServerApp": {"allow_origin": "https://lab.example"}}) as api:
        for origin, status in (("https://lab.example", 200), ("https://evil.example", 403)):
            headers = {"Origin": origin, "Access-Control-Request-Method": "GET"}
            assert (await api.call("OPTIONS", "environments", headers=headers)).status == status
            assert (await api.call("GET", "environments", headers=headers)).status == 403
        assert (await api.call("OPTIONS", "environments")).status == 200


async def test_who_may_only_look_changes_nothing(serve: Serve, fake: FakeEngine, root: Path) -> None:
    config = {"ServerApp": {"authorizer_class": ReadOnly}}
    async with serve(config) as api:
        assert (await api.get("environments")).status == 200
        for verb, path in (
            ("POST", "environments"),
            ("DELETE", "environments/small-0123456789"),
            ("POST", "environments/small-0123456789/start"),
            ("POST", "environments/small-0123456789/restart"),
            ("POST", "environments/small-0123456789/stop"),
            ("DELETE", "jobs/0123456789abcdef"),
        ):
            answer = await api.call(verb, path, {"preset": "small"} if verb == "POST" else None)
            assert (answer.status, answer.body["code"]) == (403, "forbidden"), path
        assert fake.calls["create"] == 0


async def test_another_web_site_cannot_use_a_persons_cookie(api: Api, fake: FakeEngine) -> None:
    async with api.session.get(api.url(f"engine?token={TOKEN}")) as answer:
        cookies = {name: morsel.value for name, morsel in answer.cookies.items()}
    cookie = "; ".join(f"{name}={value}" for name, value in cookies.items())
    evil = {"Cookie": cookie, "Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    body = {"preset": "small", "path": "project"}

    assert (await api.get("environments", headers={"Cookie": cookie})).status == 200
    for headers in (evil, {"Cookie": cookie}, {"Cookie": cookie, "Referer": "https://evil.example/page"}):
        answer = await api.post("environments", body, headers=headers)
        assert (answer.status, answer.body["code"]) == (403, "forbidden"), headers
    assert (await api.get("environments", headers=evil)).status == 403
    assert fake.calls["create"] == 0

    xsrf = "ab" * 16
    own = {"Cookie": f"{cookie}; _xsrf={xsrf}", "X-XSRFToken": xsrf}
    assert (await api.post("environments", {"preset": "nothing", "path": "project"}, headers=own)).status == 404


async def test_a_page_learns_that_the_server_half_is_there(api: Api) -> None:
    assert api.app.web_app.settings["page_config_data"]["mlenv"] == "true"


async def test_the_listening_socket_sends_small_messages_at_once(api: Api) -> None:
    for listening in api.app.http_server._sockets.values():
        assert listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


async def test_the_end_of_the_server_lets_go_of_the_engine_and_leaves_environments(
    serve: Serve, fake: FakeEngine, root: Path
) -> None:
    async with serve() as api:
        await started(api)
        assert not fake.closed
    assert fake.closed
    assert fake.calls["remove"] == 0
    for box in fake.containers.values():
        shutil.rmtree(box.spec.labels[f"{LABEL}.run"])


async def test_two_clicks_on_restart_are_one(api: Api, fake: FakeEngine) -> None:
    environment = await started(api)
    at = f"environments/{environment['id']}/restart"
    fake.delays["stop"] = 0.3
    first, second = await asyncio.gather(api.post(at), api.post(at))
    assert (first.status, second.status) == (202, 202)
    assert first.body["job"]["id"] == second.body["job"]["id"]
    assert first.body["job"]["kind"] == "restart"
    assert (await api.ended(first.body["job"]["id"]))["state"] == "done"
    assert fake.calls["stop"] == 1


async def test_a_restart_during_a_start_is_refused_and_says_what_to_do(api: Api, fake: FakeEngine) -> None:
    fake.delays["put_files"] = 60
    begun = (await api.post("environments", {"preset": "small", "path": "project"})).body
    id, job = begun["environment"]["id"], begun["job"]["id"]

    async def created() -> bool:
        return bool(fake.calls["put_files"])

    await eventually(created, "the container is there")
    for path, body in (
        (f"environments/{id}/restart", None),
        ("environments", {"preset": "small", "path": "project", "recreate": True}),
    ):
        answer = await api.post(path, body)
        assert (answer.status, answer.body["code"]) == (409, "environment_busy")
        assert id in answer.body["message"]
        assert "is being started" in answer.body["message"]
        assert "cancel" in answer.body["hint"]
        assert answer.body["details"] == {"environment": id, "job": job}
    assert (await api.get(f"jobs/{job}")).body["state"] == "running"


async def test_a_start_during_a_restart_ends_with_it(api: Api, fake: FakeEngine) -> None:
    environment = await started(api)
    at = f"environments/{environment['id']}"
    fake.delays["stop"] = 0.3
    restart = (await api.post(f"{at}/restart")).body["job"]
    for path, body in ((f"{at}/start", None), ("environments", {"preset": "small", "path": "project"})):
        answer = await api.post(path, body)
        assert (answer.status, answer.body["job"]["id"]) == (202, restart["id"])
    assert (await api.ended(restart["id"]))["state"] == "done"
    assert (await api.get(at)).body["state"] == "running"


@pytest.mark.parametrize("kind", ["start", "restart", "recreate"])
@pytest.mark.parametrize("verb", ["stop", "remove"])
async def test_a_stop_or_a_removal_cancels_what_is_under_way(
    api: Api, fake: FakeEngine, root: Path, kind: str, verb: str
) -> None:
    environment = await started(api)
    at = f"environments/{environment['id']}"
    if kind == "start":
        assert (await api.post(f"{at}/stop")).status == 200
    before = fake.calls["start"]
    fake.delays["start"] = 60
    body = {"preset": "small", "path": "project", "recreate": True}
    under_way = await (api.post("environments", body) if kind == "recreate" else api.post(f"{at}/{kind}"))
    job = under_way.body["job"]
    assert job["kind"] == kind

    async def waits() -> bool:
        return fake.calls["start"] > before

    await eventually(waits, "the container starts")
    answer = await (api.post(f"{at}/stop") if verb == "stop" else api.delete(at))
    fake.delays.clear()
    assert (await api.get(f"jobs/{job['id']}")).body["state"] == "cancelled"
    left = [box.info.status for box in fake.containers.values()]
    if verb == "remove":
        assert (answer.status, left) == (204, [])
    elif kind == "recreate":  # what is made anew and cancelled leaves nothing
        assert (answer.status, answer.body["state"], left) == (200, "stopped", [])
    else:
        assert (answer.status, answer.body["state"]) == (200, "stopped")
        assert left in (["exited"], ["created"])


async def test_a_start_after_a_cancel_is_a_start_of_its_own(api: Api, fake: FakeEngine) -> None:
    """The cancelled one still cleans up when it is asked for."""
    fake.delays.update({"put_files": 60, "remove": 0.3})
    body = {"preset": "small", "path": "project"}
    first = (await api.post("environments", body)).body["job"]

    async def created() -> bool:
        return bool(fake.calls["put_files"])

    await eventually(created, "the container is there")
    assert (await api.delete(f"jobs/{first['id']}")).status == 204
    fake.delays["put_files"] = 0
    second = (await api.post("environments", body)).body["job"]
    assert second["id"] != first["id"]
    assert (await api.ended(second["id"]))["state"] == "done"
    assert (await api.get(f"jobs/{first['id']}")).body["state"] == "cancelled"
