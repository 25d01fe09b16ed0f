"""Elastic expert parallelism: how the model is spread, which GPUs of a Ray cluster are free, and another number of ranks."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

_LOGGER = logging.getLogger("dynamo_vllm.elastic")

#: Seconds that a question to Ray's control store may take. Whoever reconciles asks again and again.
_QUERY_SECONDS = 5.0


def parallelism(config: Any) -> dict[str, Any]:
    """Of the moment: vLLM writes a new number of ranks into its own settings."""
    return {
        "data_parallel_size": config.data_parallel_size,
        "tensor_parallel_size": config.tensor_parallel_size,
        "data_parallel_backend": config.data_parallel_backend,
        "data_parallel_external_lb": bool(config.data_parallel_external_lb),
        "prefill_context_parallel_size": getattr(config, "prefill_context_parallel_size", 1),
        "enable_elastic_ep": bool(getattr(config, "enable_elastic_ep", False)),
    }


class GpuCapacity:
    """Asks Ray, on one thread and one question at a time: who asks meanwhile gets the same answer."""

    def __init__(self) -> None:
        self._threads: ThreadPoolExecutor | None = None
        self._query: "asyncio.Future[dict[str, Any]] | None" = None

    async def read(self) -> dict[str, Any]:
        """The numbers, or `problem` if Ray is not installed, does not answer, or answers with an error of its own."""
        try:
            from ray.exceptions import RayError
        except ImportError as error:
            return {"problem": f"GPU capacity query failed: {error}"}
        if self._query is None or self._query.done():
            self._threads = self._threads or ThreadPoolExecutor(max_workers=1, thread_name_prefix="gpu-capacity")
            self._query = asyncio.get_running_loop().run_in_executor(self._threads, _ask_ray)
            self._query.add_done_callback(_forget_failure)
        try:
            # Who gives up waiting must not take the answer away from the others.
            return await asyncio.wait_for(asyncio.shield(self._query), _QUERY_SECONDS)
        except asyncio.TimeoutError:
            return {"problem": f"GPU capacity query timed out after {_QUERY_SECONDS}s"}
        except RayError as error:
            return {"problem": f"GPU capacity query failed: {error}"}


async def scale(llm: Any, size: int) -> None:
    """vLLM looks for nodes through Ray's dashboard, which a small installation of Ray lacks: meanwhile its control store is asked instead."""
    try:
        import ray
        from ray.util import state
    except ImportError:
        await llm.scale_elastic_ep(size)
        return
    own = state.list_nodes
    state.list_nodes = lambda **_: [
        SimpleNamespace(node_ip=node["NodeManagerAddress"], node_id=node["NodeID"]) for node in ray.nodes() if node.get("Alive")
    ]
    try:
        await llm.scale_elastic_ep(size)
    finally:
        state.list_nodes = own


def _ask_ray() -> dict[str, Any]:
    import ray
    from ray._private.state import available_resources_per_node

    idle = available_resources_per_node()
    # A resource of which nothing is left is missing in what is available.
    nodes = [
        {
            "total_gpus": float(node.get("Resources", {}).get("GPU", 0.0)),
            "available_gpus": float(idle.get(node.get("NodeID"), {}).get("GPU", 0.0)),
        }
        for node in ray.nodes()
        if node.get("Alive")
    ]
    total = sum(node["total_gpus"] for node in nodes)
    available = float(ray.available_resources().get("GPU", 0.0))
    return {"total_gpus": total, "available_gpus": available, "used_gpus": total - available, "nodes": nodes}


def _forget_failure(query: "asyncio.Future[dict[str, Any]]") -> None:
    """One that nobody waits for any more is no news to asyncio."""
    if not query.cancelled() and query.exception() is not None:
        _LOGGER.warning("GPU capacity query failed: %s", query.exception())
