"""The kernel protocol's newer and heavier parts: subshells, the debugger, very large outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from jupyter_client.asynchronous import AsyncKernelClient

from tests.support.environments import Named
from tests.support.kernels import Home, kernel, replied, said

HOST = 'extends = "host"\ntitle = "Box"\n'
LARGE = 200_000_000


@pytest.fixture(params=["forked", "executed"])
def box(request: pytest.FixtureRequest, named: Named, home: Home) -> str:
    """The kernel of a preset, each way that it can be started."""
    text = "[kernel]\nfork = false\n" if request.param == "executed" else ""
    return home.add(named(f"box-{request.param}", HOST + text))


async def asked(client: AsyncKernelClient, kind: str, content: dict[str, Any]) -> dict[str, Any]:
    """The content of the answer to a request on the control channel."""
    message = client.session.msg(kind, content)
    client.control_channel.send(message)
    while True:
        reply = await client.get_control_msg(timeout=60)
        if reply["parent_header"].get("msg_id") == message["header"]["msg_id"]:
            answer: dict[str, Any] = reply["content"]
            return answer


async def in_subshell(client: AsyncKernelClient, subshell: str, code: str) -> str:
    """What the code printed in this subshell, whatever the main shell does meanwhile."""
    message = client.session.msg("execute_request", {"code": code, "silent": False, "store_history": False})
    message["header"]["subshell_id"] = subshell
    client.shell_channel.send(message)
    text = ""
    while True:
        told = await client.get_iopub_msg(timeout=60)
        if told["parent_header"].get("msg_id") != message["header"]["msg_id"]:
            continue
        text += told["content"].get("text", "")
        if told["content"].get("execution_state") == "idle":
            return text.strip()


async def test_a_subshell_works_while_the_main_shell_is_busy(box: str, workspace: Path) -> None:
    async with kernel(box, workspace) as (manager, client):
        info = await client.kernel_info(reply=True, timeout=60)
        assert "kernel subshells" in info["content"]["supported_features"]
        created = await asked(client, "create_subshell_request", {})
        assert created["status"] == "ok"
        subshell = created["subshell_id"]
        client.execute("import threading; go = threading.Event(); print('at work', flush=True); go.wait()")
        while (await client.get_iopub_msg(timeout=60))["msg_type"] != "stream":
            pass
        assert await in_subshell(client, subshell, "print(6 * 7, go.is_set())") == "42 False"
        assert (await asked(client, "list_subshell_request", {}))["subshell_id"] == [subshell]
        await in_subshell(client, subshell, "go.set()")
        assert await said(client, "print(go.is_set())") == "True"
        assert (await asked(client, "delete_subshell_request", {"subshell_id": subshell}))["status"] == "ok"
        assert (await asked(client, "list_subshell_request", {}))["subshell_id"] == []
        await manager.restart_kernel()
        await client.wait_for_ready(timeout=60)
        assert (await asked(client, "list_subshell_request", {}))["subshell_id"] == []


class Debugger:
    """A debugger, as a client has it: requests with a number each, and what stops is told on iopub."""

    def __init__(self, client: AsyncKernelClient) -> None:
        self.client = client
        self.number = 0

    async def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        self.number += 1
        request = {"type": "request", "seq": self.number, "command": command, "arguments": arguments}
        answer = await asked(self.client, "debug_request", request)
        assert answer.get("success"), answer
        body: dict[str, Any] = answer.get("body") or {}
        return body

    async def until(self, event: str) -> dict[str, Any]:
        while True:
            told = await self.client.get_iopub_msg(timeout=60)
            if told["msg_type"] == "debug_event" and told["content"].get("event") == event:
                body: dict[str, Any] = told["content"]["body"]
                return body


async def test_the_debugger_stops_in_a_cell(box: str, workspace: Path) -> None:
    code = "def double(x):\n    y = x * 2\n    return y\nprint(double(21))"
    async with kernel(box, workspace) as (_, client):
        debugger = Debugger(client)
        await debugger.ask("initialize", clientID="test", adapterID="", pathFormat="path", linesStartAt1=True)
        await debugger.ask("attach")
        path = (await debugger.ask("dumpCell", code=code))["sourcePath"]
        where = await debugger.ask("setBreakpoints", source={"path": path}, breakpoints=[{"line": 3}])
        assert where["breakpoints"][0]["verified"]
        await debugger.ask("configurationDone")
        id = client.execute(code)
        stopped = await debugger.until("stopped")
        assert stopped["reason"] == "breakpoint"
        frames = (await debugger.ask("stackTrace", threadId=stopped["threadId"]))["stackFrames"]
        assert (frames[0]["name"], frames[0]["line"]) == ("double", 3)
        scopes = (await debugger.ask("scopes", frameId=frames[0]["id"]))["scopes"]
        reference = scopes[0]["variablesReference"]
        found = (await debugger.ask("variables", variablesReference=reference))["variables"]
        assert ("y", "42") in [(variable["name"], variable["value"]) for variable in found]
        await debugger.ask("continue", threadId=stopped["threadId"])
        assert (await replied(client, id))["status"] == "ok"
        # As JupyterLab asks. With terminateDebuggee=True debugpy ends the kernel, a moment after it has answered.
        await debugger.ask("disconnect", restart=False, terminateDebuggee=False)
        assert await said(client, "1 + 1") == "2"


async def test_an_output_of_200_megabytes(named: Named, home: Home, workspace: Path) -> None:
    async with kernel(home.add(named("box", HOST)), workspace) as (_, client):
        client.execute(f"from IPython.display import display; display({{'text/plain': 'x' * {LARGE}}}, raw=True)")
        while (message := await client.get_iopub_msg(timeout=60))["msg_type"] != "display_data":
            pass
        assert len(message["content"]["data"]["text/plain"]) == LARGE
        assert await said(client, "1 + 1") == "2"
