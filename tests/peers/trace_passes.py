"""The official package's trace of one engine's forward passes: trace_passes.py ENDPOINT, its settings in DYN_FPM_*."""

import asyncio
import sys

from dynamo.llm import FpmEventRelay
from dynamo.runtime import DistributedRuntime


async def main(endpoint: str) -> None:
    loop = asyncio.get_running_loop()
    runtime = DistributedRuntime(loop, "mem", "tcp")
    relay = FpmEventRelay(endpoint=runtime.endpoint("dynamo.backend.generate"), zmq_endpoint=endpoint)
    print("listening", flush=True)
    await asyncio.Event().wait()
    del relay  # which ends with its last reference


asyncio.run(main(sys.argv[1]))
