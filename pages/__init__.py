"""The browser side: a thin layer that reads the store and draws with `engine.figures`; it never imports torch."""
