"""A recipe that another page links to: the form, or the text where the form has no field for it, opens with that recipe."""

from __future__ import annotations

import streamlit as st

from engine.errors import SpecError
from engine.spec.goals import Search
from engine.spec.recipe import Recipe
from engine.spec.sweep import Sweep
from pages.new_sweep import spec_editor
from pages.shared import handed_recipe, queries

_SUFFIX = ", chosen layers"


def take() -> None:
    """Take the address's recipe, if it has one, and take it out of the address: from here on the form and the text count.

    Raises InputError for an address that names no sweep, or no recipe.
    """
    params = st.query_params.to_dict()
    if handed_recipe.RECIPE not in params:
        return
    try:
        handed = handed_recipe.from_params(params)
    finally:
        for name in (handed_recipe.FROM, handed_recipe.RECIPE):
            st.query_params.pop(name, None)
    assert handed is not None
    sweep_id, recipe = handed
    row = next((r for r in queries.sweeps() if r.id == sweep_id), None)
    if row is None:
        raise SpecError(f"the sweep {sweep_id[:80]!r} of this address is not here; open the recipe again from its page")
    spec_editor.take(of_recipe(queries.spec(row), recipe))
    st.session_state["form shown as"] = "Form" if spec_editor.held() is None else "As YAML"


def of_recipe(sweep: Sweep, recipe: Recipe) -> Sweep:
    """A sweep of the same model and data, measured alike, of one recipe beside the baseline. Raises InputError."""
    name = sweep.name[: 200 - len(_SUFFIX)].removesuffix(_SUFFIX) + _SUFFIX
    kept = {field: getattr(sweep, field) for field in Sweep.model_fields}
    return Sweep(**kept | {"name": name, "space": {}, "recipes": (recipe.steps,), "search": Search()})
