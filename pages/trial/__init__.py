"""Trial: everything there is to say about one recipe of a sweep."""
