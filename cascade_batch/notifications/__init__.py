"""Messages about jobs: webhooks when one is finished, failed, paused or cancelled, or has used a share of its
budget.

What happens to a job and what is to be told of it are written in one transaction: a trigger on the table
of jobs does it, so that no way in which a job changes can be forgotten. Shares of the budget are looked
for by the sweeper, as money moves with every turn of every worker. From then on a message is a row in an
outbox, and whoever sweeps sends it: at least once, under the same id each time, ever more rarely for a
day, then no more. Nothing of that touches the job, which never waits for a receiver and never fails by
one.

An address often is a secret itself. So the environment variable that holds it can be named instead
(`env:NAME`), and only scheme and host are ever shown or logged.
"""
