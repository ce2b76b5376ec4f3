-- What comes after a job's end: the last answers of rows that others follow, and its deletion.

-- followed_at: the `finished_at` for which rows that follow others got what those have. While it is another one,
-- a job that was cancelled or failed may have answers of calls that settled after its end, which nobody follows.
-- deleting: its tables are being dropped, one by one. Nothing but that may be done to it any more.
ALTER TABLE cascade_store.job
    ADD COLUMN followed_at timestamptz,
    ADD COLUMN deleting boolean NOT NULL DEFAULT false;
