"""The figures of docs/benchmarks.md: what TCSQL costs and does, measured beside a reference in the same run.

    shape       the rows: the posts of a forum, as mysqldump, NDJSON and DDL
    measure     figures: rounds, medians, goals, references
    machine     what was measured on what
    processes   servers and commands as child processes, each ended by its own process id
    queries     memory   load   restart   writes      one module a group of figures
    report      the table on the terminal, the JSON, the page

Everything lives in one temporary directory and on the loopback address. A figure is the median of interleaved
rounds: subject and reference take turns, so that a busy machine slows both.
"""
