"""What is measured on a file, and why it is not faster."""
