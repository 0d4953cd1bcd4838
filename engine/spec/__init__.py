"""What the user asks for: steps, recipes, a space of them, a sweep."""
