"""Points at random, with ties."""

from __future__ import annotations

import math

from hypothesis import strategies as st

# Few distinct values, so that ties and repeats are common, and some that were not measured.
ANY_VALUE = st.one_of(
    st.integers(-4, 4).map(float), st.floats(-1e6, 1e6), st.sampled_from([math.nan, math.inf, -math.inf])
)


@st.composite
def clouds(draw, values=ANY_VALUE):
    """Points in one to four dimensions, and which objectives to maximise."""
    d = draw(st.integers(1, 4))
    maximise = draw(st.lists(st.booleans(), min_size=d, max_size=d))
    points = draw(st.lists(st.lists(values, min_size=d, max_size=d), max_size=25))
    return points, maximise
