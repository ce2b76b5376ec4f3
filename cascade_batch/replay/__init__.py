"""The planner on recorded outcomes: in memory, without a network, a database or a cent."""
