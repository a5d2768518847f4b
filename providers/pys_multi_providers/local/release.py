"""One deployed release while it runs: a pool of instances per function, behind the front and the pump."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

from pys_multi.errors import HTTPError
from pys_multi.http import Request, Response
from pys_multi.model import Service
from pys_multi.runtime import problem
from pys_multi_providers.local.instances import Launch, StartFailed
from pys_multi_providers.local.journal import Journal
from pys_multi_providers.local.meter import Meter
from pys_multi_providers.local.pool import Handle, Pool
from pys_multi_providers.local.state import State


@dataclass(frozen=True, slots=True)
class Order:
    """What a deploy asks for. builds: build id of each function. secrets: values, held in memory only."""

    manifest: Mapping[str, Any]
    builds: Mapping[str, str]
    python: str
    secrets: Mapping[str, str]
    fingerprints: Mapping[str, str]

    @property
    def service(self) -> Service:
        return Service.from_json(self.manifest["model"])

    def launches(self, state: State, url: str) -> dict[str, Launch]:
        """How each function's instances are started."""
        service = self.service
        launches = {}
        for function in service.functions:
            own = self.manifest["functions"][function.name]
            build_id = self.builds[function.name]
            launches[function.name] = Launch(
                function=function,
                service=service.name,
                stage=self.manifest["stage"],
                build_id=build_id,
                build=state.builds / build_id,
                python=self.python,
                instances=own["instances"],
                environment=self.manifest["environment"],
                scratch=state.scratch,
                hello={"data": str(state.data), "url": url},
                secrets={name: self.secrets[name] for name in own["secrets"] if name in self.secrets},
                start_timeout=self.manifest["start_timeout"],
            )
        return launches


class Release:
    """The pools of an order. A pool whose launch is the same as before is taken over and not restarted."""

    def __init__(self, order: Order, pools: Mapping[str, Pool]) -> None:
        self.order = order
        self.service = order.service
        self.pools = dict(pools)

    @classmethod
    async def start(
        cls, order: Order, launches: Mapping[str, Launch], former: Release | None, journal: Journal, meter: Meter
    ) -> Release:
        """Starts what is new, everything at once. Raises StartFailed, and then nothing of it is left."""
        pools, new = {}, []
        for name, launch in launches.items():
            before = former.pools.get(name) if former is not None else None
            if before is not None and before.launch == launch and before.state == "serving":
                pools[name] = before
            else:
                pools[name] = Pool(launch, journal, meter, backlog=order.manifest["backlog"])
                new.append(pools[name])
        results = await asyncio.gather(*(pool.start() for pool in new), return_exceptions=True)
        failures = [result for result in results if isinstance(result, BaseException)]
        if failures:
            await asyncio.gather(*(pool.stop(1.0) for pool in new))
            # The user's own mistake tells more than whatever else went wrong beside it.
            raise next((failure for failure in failures if isinstance(failure, StartFailed)), failures[0])
        return cls(order, pools)

    async def drain(self, successor: Release | None, grace: float) -> None:
        """Ends every pool that the successor has not taken over, once its work is done."""
        kept = set(successor.pools.values()) if successor is not None else set()
        await asyncio.gather(*(pool.drain(grace) for pool in self.pools.values() if pool not in kept))

    # ---- what the front and the pump use

    async def http(self, function: str, request: Request) -> Response:
        pool = self.pools.get(function)
        if pool is None:
            return problem(HTTPError(404, "there is no such function"), request)
        return await pool.http(request)

    def capacity(self, function: str) -> AbstractAsyncContextManager[Handle]:
        return self.pools[function].place()

    def health(self) -> dict[str, Any]:
        functions = {
            name: {"status": "ok" if pool.state == "serving" else pool.state, "build_id": pool.launch.build_id}
            for name, pool in self.pools.items()
        }
        return {
            "status": "ok" if all(entry["status"] == "ok" for entry in functions.values()) else "failing",
            "service": self.service.name,
            "stage": self.order.manifest["stage"],
            "functions": functions,
        }

    def status(self) -> list[dict[str, Any]]:
        """Every function with its instances, as JSON values."""
        now = time.monotonic()
        return [
            {
                "name": name,
                "state": pool.state,
                "build_id": pool.launch.build_id,
                "reason": pool.reason,
                "restarts": pool.restarts,
                "instances": [
                    {
                        "id": instance.id,
                        "state": instance.state,
                        "restarts": instance.restarts,
                        "uptime": round(now - instance.started, 3),
                        "memory_mb": round((instance.memory() or 0) / 1_048_576, 1),
                    }
                    for instance in pool.instances
                ],
            }
            for name, pool in self.pools.items()
        ]
