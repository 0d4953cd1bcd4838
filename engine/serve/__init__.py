"""Bundles behind HTTP: the Open Inference Protocol and /predict, requests in batches as they come, canaries, bounded memory."""
