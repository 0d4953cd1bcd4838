"""What several pages use: shell, access, address, view state, cached reads, and parts that more than one shows."""
