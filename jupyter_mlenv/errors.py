"""Every error a person can meet, as one tree.

::

    MlenvError                        what happened, a stable code, an HTTP status, a hint
    ├── RequestInvalid                the call itself is malformed (400)
    ├── NotFound (404)
    │   ├── PresetNotFound            names the nearest preset
    │   ├── WorkspaceNotFound
    │   ├── EnvironmentNotFound
    │   ├── EndpointNotFound
    │   ├── MountMissing              what is to be mounted is not there
    │   └── JobNotFound
    ├── PresetInvalid                 file, line, field, what is allowed (422)
    ├── ConsentRequired               a project's preset that nobody has agreed to (409)
    ├── WorkspaceForbidden            outside `allowed_workspaces`, or the home directory (403)
    ├── MountForbidden                a mount's source or target that may not be, or is no longer the same (403)
    ├── LimitExceeded                 more than a maximum, or an image that is not allowed; names the setting (403)
    ├── EngineError                   the engine answered with a failure (502)
    │   ├── EngineUnavailable         no engine answers (503)
    │   ├── EnginePermission          the socket is there, we may not use it (503)
    │   ├── ContainerNotFound         (404)
    │   ├── NameConflict              another process made the container first (409)
    │   ├── ImageNotFound             (404)
    │   ├── RegistryUnreachable       names the alias that would help (502)
    │   ├── BuildFailed               the failing step and its last lines (422)
    │   ├── GpuUnavailable            names the CPU twin (409)
    │   ├── SourceMissing             the engine has nothing where a mount's source should be (502)
    │   ├── EngineElsewhere           what is mounted is not what is on this machine (502)
    │   ├── EngineUnsupported         it answers, and environments cannot work on it (501)
    │   └── DiskFull                  (507)
    ├── EnvironmentFailed             the environment is there and does not do its part (502)
    │   ├── ContainerExited           with its log tail
    │   ├── AgentUnreachable
    │   ├── ServiceExited             with its log tail
    │   ├── ServiceTimeout            (504)
    │   ├── KernelExited              with its log tail
    │   ├── KernelTimeout             (504)
    │   ├── KernelExists              a kernel of this id runs already (409)
    │   └── NoKernelspec              names the ones that the image has (422)
    ├── EnvironmentNotRunning         (409)
    ├── EnvironmentBusy               something else is being done with it (409)
    └── JobCancelled                  (409)

An error says what happened, in which environment, why, and what to do now. The command line and the REST layer
translate the tree in one place each; nobody else looks at `status`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import plaintext


class MlenvError(Exception):
    """Base of the tree.

    Parameters
    ----------
    message
        What happened and why: one or two sentences for a person, without a traceback.
    hint
        What to do now: a command or a click. Empty if nothing helps.
    details
        JSON-serializable facts for programs (`file`, `line`, `field`, `environment`, …).
    log
        The last lines of the log that explain the failure, oldest first.

    What a container or a repository put into the texts is shown without control characters: they are printed in
    terminals, logs and notebooks. `details` keeps what it is given, since programs read it.
    """

    code = "error"
    status = 500

    def __init__(
        self, message: str, *, hint: str = "", details: Mapping[str, Any] | None = None, log: Sequence[str] = ()
    ) -> None:
        self.message = plaintext.shown(message)
        super().__init__(self.message)
        self.hint = plaintext.shown(hint)
        self.details: dict[str, Any] = dict(details or {})
        self.log: tuple[str, ...] = tuple(map(plaintext.log_line, log))

    def to_json(self) -> dict[str, Any]:
        """The error object of the REST API and of `--json`."""
        return {
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
            "details": self.details,
            "log": list(self.log),
        }


class RequestInvalid(MlenvError):
    code = "request_invalid"
    status = 400


class NotFound(MlenvError):
    code = "not_found"
    status = 404


class PresetNotFound(NotFound):
    code = "preset_not_found"


class WorkspaceNotFound(NotFound):
    code = "workspace_not_found"


class EnvironmentNotFound(NotFound):
    code = "environment_not_found"


class EndpointNotFound(NotFound):
    code = "endpoint_not_found"


class MountMissing(NotFound):
    """`details` has `mount`, the target, and `source`."""

    code = "mount_missing"


class JobNotFound(NotFound):
    code = "job_not_found"


class PresetInvalid(MlenvError):
    """`details` has `file`, `line` (1-based), `field` (dotted) and `allowed` where they are known."""

    code = "preset_invalid"
    status = 422


class ConsentRequired(MlenvError):
    """`details["consent"]` is the consent object: `file`, `folder`, `digest` and `says`."""

    code = "consent_required"
    status = 409


class WorkspaceForbidden(MlenvError):
    code = "workspace_forbidden"
    status = 403


class MountForbidden(MlenvError):
    """`details` has `mount`, the target, and `source`."""

    code = "mount_forbidden"
    status = 403


class LimitExceeded(MlenvError):
    """`details` has `setting`, the maximum's name, and `maximum`."""

    code = "limit_exceeded"
    status = 403


class EngineError(MlenvError):
    code = "engine_error"
    status = 502


class EngineUnavailable(EngineError):
    code = "engine_unavailable"
    status = 503


class EnginePermission(EngineError):
    code = "engine_permission"
    status = 503


class ContainerNotFound(EngineError):
    code = "container_not_found"
    status = 404


class NameConflict(EngineError):
    code = "name_conflict"
    status = 409


class ImageNotFound(EngineError):
    code = "image_not_found"
    status = 404


class RegistryUnreachable(EngineError):
    code = "registry_unreachable"
    status = 502


class BuildFailed(EngineError):
    """`details` has `step` (the failing instruction); `log` has its last 20 lines."""

    code = "build_failed"
    status = 422


class GpuUnavailable(EngineError):
    code = "gpu_unavailable"
    status = 409


class SourceMissing(EngineError):
    """The engine has nothing at a mount's source. `details` has `source`."""

    code = "source_missing"
    status = 502


class EngineElsewhere(EngineError):
    """The engine mounts other files than this machine has at the same path. `details` has `source`."""

    code = "engine_elsewhere"
    status = 502


class EngineUnsupported(EngineError):
    code = "engine_unsupported"
    status = 501


class DiskFull(EngineError):
    code = "disk_full"
    status = 507


class EnvironmentFailed(MlenvError):
    code = "environment_failed"
    status = 502


class ContainerExited(EnvironmentFailed):
    """`details` has `exit_code` and `oom_killed`."""

    code = "container_exited"


class AgentUnreachable(EnvironmentFailed):
    code = "agent_unreachable"


class ServiceExited(EnvironmentFailed):
    code = "service_exited"


class ServiceTimeout(EnvironmentFailed):
    code = "service_timeout"
    status = 504


class KernelExited(EnvironmentFailed):
    """`details` has `exit_code`, negative for a signal, and where known `oom` and `memory_limit` in bytes."""

    code = "kernel_exited"


class KernelTimeout(EnvironmentFailed):
    code = "kernel_timeout"
    status = 504


class KernelExists(EnvironmentFailed):
    code = "kernel_exists"
    status = 409


class NoKernelspec(EnvironmentFailed):
    """The image brings no kernelspec of the name that the preset gives, or a broken one."""

    code = "no_kernelspec"
    status = 422


class EnvironmentNotRunning(MlenvError):
    code = "environment_not_running"
    status = 409


class EnvironmentBusy(MlenvError):
    """Another job runs for it, `details` has `job`; or another process works on it for too long."""

    code = "environment_busy"
    status = 409


class JobCancelled(MlenvError):
    code = "job_cancelled"
    status = 409
