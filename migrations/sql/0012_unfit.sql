-- rows_unfit: answered rows whose final answer does not fit the declared output, counted when the job finished last.
ALTER TABLE cascade_store.job
    ADD COLUMN rows_unfit integer NOT NULL DEFAULT 0;
