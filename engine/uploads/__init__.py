"""What people send to a server: files of a browser, taken for hostile and kept by their content; and which paths a form may name."""
