"""The browser side: a thin layer that reads the store and draws with `engine.figures.frontier`; it never imports torch."""
