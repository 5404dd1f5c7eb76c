"""Our code compared with "peers", which a user could choose instead, and with the limit of the machine, in one run.

    ROWS (rows.py) -> Case (case.py) -> rounds.py: one child each (crew.py, contenders/serve.py) for ours, the peers and
    the limit, sampled round-robin -> PeerRecord (record.py) -> journal.jsonl -> tables.py -> peers.csv, peers_all.csv
    (files.py) -> plot.py

The parent imports neither jax nor torch. The timed code is in contenders/, a file for each package.
"""
