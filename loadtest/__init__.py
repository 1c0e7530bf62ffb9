"""Load tests over HTTP: TCSQL beside everything a user would pick instead, on the same rows and the same queries.

``python -m loadtest.peers`` measures, ``python -m loadtest.report`` makes docs/performance.md from the results.
A measurement is one *cell*: one stack, one query, so many connections, in one round. In a round every stack gets
the same cells in a shuffled order while all others are stopped, and figures are medians of the rounds' own ratios.
"""
