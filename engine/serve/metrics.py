"""What a server counts, for Prometheus: names begin with `paretoscope_`, times are seconds, sizes bytes."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """A server's own counters, apart from those of others in this process."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter(
            "paretoscope_requests", "Requests answered, by HTTP status.", ("model", "way", "status"), registry=registry
        )
        self.seconds = Histogram(
            "paretoscope_request_seconds",
            "From the whole body to the answer.",
            ("model", "way"),
            buckets=_SECONDS,
            registry=registry,
        )
        self.batch = Histogram(
            "paretoscope_batch_rows", "Rows in one run of the model.", ("model",), buckets=_ROWS, registry=registry
        )
        self.waiting = Gauge("paretoscope_waiting_rows", "Rows that wait for the model.", ("model",), registry=registry)
        self.loaded = Gauge("paretoscope_model_bytes", "What a model in memory takes.", ("model",), registry=registry)
        self.evictions = Counter(
            "paretoscope_evictions", "Models that made room for others.", ("model",), registry=registry
        )
        self.compared = Counter(
            "paretoscope_canary_compared",
            "Rows that a model and its canary answered.",
            ("model", "canary"),
            registry=registry,
        )
        self.agreed = Counter(
            "paretoscope_canary_agreed",
            "Those with the same class, or values within 1 %.",
            ("model", "canary"),
            registry=registry,
        )

    def text(self) -> bytes:
        """All of them in Prometheus' text format."""
        return generate_latest(self._registry)
