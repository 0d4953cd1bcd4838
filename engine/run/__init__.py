"""From a sweep to its trials: plan, forecast, nodes on a cluster, assembly."""
