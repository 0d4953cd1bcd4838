"""A measuring process that is never done: `run_module`'s other end. It adds its number to the file that the request names."""

import json
import os
import sys
import time
from pathlib import Path

if __name__ == "__main__":
    request = json.load(sys.stdin)
    with Path(request["pids"]).open("a") as file:
        file.write(f" {os.getpid()}")
    time.sleep(600)
