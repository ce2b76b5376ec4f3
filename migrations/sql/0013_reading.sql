-- reading: rows of the job's data set are still being added to it. It is not planned before that is over. A job that
-- is over and was never read to its end keeps the mark: nothing but showing and deleting it makes sense any more.
ALTER TABLE cascade_store.job
    ADD COLUMN reading boolean NOT NULL DEFAULT false;

COMMENT ON COLUMN cascade.jobs.reason IS 'Why it failed or waits; of a finished job, why money is left.';
