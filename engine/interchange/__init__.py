"""Sweeps as other tools have them: MLflow's runs, W&B's table, OpenTelemetry's spans, Olive's and INC's settings, tools for agents."""
