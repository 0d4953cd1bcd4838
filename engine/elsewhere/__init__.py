"""What was measured elsewhere: reports from users’ own boards, and points from tables, Olive and Optuna."""
