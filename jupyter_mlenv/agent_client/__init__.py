"""The agent's protocol (`docs/architecture.md`) over a route to a container."""

from .client import AgentClient
from .kernels import KernelRequest, KernelStarted, KernelStatus
from .ports import ListeningPort
from .services import ServiceInfo, ServiceStatus

__all__ = [
    "AgentClient",
    "KernelRequest",
    "KernelStarted",
    "KernelStatus",
    "ListeningPort",
    "ServiceInfo",
    "ServiceStatus",
]
