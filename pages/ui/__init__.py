"""What the pages share: shell, view state, cached reads, and the parts that they are put together from."""
