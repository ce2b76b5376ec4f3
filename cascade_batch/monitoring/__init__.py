"""What operators see: metrics, logs and traces. Nobody's answers depend on anything in here.

- `catalogue` names every metric; `meter` gathers figures in the process where they arise, `channel` carries
  them from a worker's children to its main process, and `exporter` shows them to Prometheus.
- What Postgres knows anyway (money, rows, queues) is read there by the sweeper, see `database`: it is right
  whatever became of the workers.
- `observer` is what the engine tells: a chunk was opened, calls ended, a turn was taken, a chunk went back.
  A call costs a worker the appending of four values to a list, and nothing where nobody watches; the rest
  is done once for all calls of a turn.
- `logs` formats what all loggers say, and keeps secrets out of it; `tracing` makes spans of chunks and of
  some of their calls.
"""
