"""Prints the environment that it was given, as a process of its own."""

import os

if __name__ == "__main__":
    print(dict(os.environ))
