"""The planner on recorded outcomes: in memory, without a network, a database or a cent.

Several tiers answered every row of a recorded set, so that any job on it can be run again in a second, and
compared with what the best random mix of tiers and a clairvoyant would have made of the same money.

1. `recorded` reads sets as arrays (`values`: what an answer says; `prices`: what a token costs), draws rows
   from them and mixes them.
2. `labels` says what a job is told about its answers.
3. `simulate` runs one job: the planner plans, a ledger admits, answers are handed out. Nothing is shown
   that a job would not know.
4. `score` has what it is measured by: hull, oracle, nAUC and its interval. `rivals` are simple policies.
5. `run` runs a job per seed and budget, `report` adds up what they found.
"""
