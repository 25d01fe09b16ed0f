"""vLLM's manager of several cache groups is switched off for the connectors for which the official worker switches it off."""

import unittest
from types import SimpleNamespace
from typing import Any

from . import REAL
from dynamo_vllm import engine

CHILDREN: tuple[list[str], ...] = (
    [],
    ["NixlConnector"],
    ["ExampleConnector"],
    ["NixlConnector", "ExampleConnector"],
    ["NixlConnector", "NixlConnector"],
)


@unittest.skipUnless(REAL, "asks the official worker's own rule, which needs vLLM")
class HybridCacheTests(unittest.TestCase):
    def test_the_switch_is_the_official_worker_s(self) -> None:
        from dynamo.vllm.kv_connector_protocols import disable_hybrid_kv_cache_manager_for_incompatible_pd_connector as official

        outcomes = []
        for name in ("PdConnector", "MultiConnector", "NixlConnector"):
            for children in CHILDREN:
                with self.subTest(name=name, children=children):
                    theirs, ours = configuration(name, children), configuration(name, children)
                    official(theirs)
                    engine.switch_hybrid_cache(ours)
                    self.assertEqual(theirs.scheduler_config, ours.scheduler_config)
                    outcomes.append(ours.scheduler_config.disable_hybrid_kv_cache_manager)
        none = configuration("", [])
        none.kv_transfer_config = None
        engine.switch_hybrid_cache(none)
        self.assertIsNone(none.scheduler_config.disable_hybrid_kv_cache_manager)
        self.assertEqual({True, None}, set(outcomes))
        self.assertIsNone(outcomes[1], "NIXL knows several groups")


def configuration(name: str, children: list[str]) -> Any:
    from vllm.config import KVTransferConfig

    inner = [{"kv_connector": child, "kv_role": "kv_both"} for child in children]
    transfer = KVTransferConfig(kv_connector=name or None, kv_role="kv_both" if name else None, kv_connector_extra_config={"connectors": inner})
    return SimpleNamespace(kv_transfer_config=transfer, scheduler_config=SimpleNamespace(disable_hybrid_kv_cache_manager=None))


if __name__ == "__main__":
    unittest.main()
