"""New sweep: model, data and steps as a form or as text, what that would run, and watching it."""
