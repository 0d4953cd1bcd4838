"""What is kept: sweeps, nodes, trials and notes in a database, files by name beside it."""
