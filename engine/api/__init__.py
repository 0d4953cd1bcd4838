"""What `import paretoscope` gives to Python programs and notebooks: sweeps, runs, frontiers and bundles, as pandas tables."""
