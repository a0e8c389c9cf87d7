"""The agent's protocol (`docs/architecture.md`) over a route to a container."""

from .client import AgentClient, KernelStarted, KernelStatus, ServiceInfo, ServiceStatus

__all__ = ["AgentClient", "KernelStarted", "KernelStatus", "ServiceInfo", "ServiceStatus"]
