"""L{bench.flow}: requests go through no more rooms than they have to."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from bench.flow import LIMITS, measured


class FlowTests(SynchronousTestCase):
    """What a request opens."""

    def test_limits(self) -> None:
        too_much = {}
        for name, flow in measured().items():
            modules, frames = LIMITS[name]
            if len(flow.modules) > modules or len(flow.deepest) > frames:
                too_much[name] = (len(flow.modules), flow.modules, len(flow.deepest), flow.deepest)
        self.assertEqual(too_much, {})
