-- Evidence that is bought: a second answer of the same tier, and a judge's verdict.
--
-- What a chunk buys for its rows follows from three columns:
--   tier_no         the tier that is called, whose queue, limits and price count
--   sample_no       0: its first answer (action 0); from 1 on: it is asked once more (action 1)
--   judged_tier_no  the tier whose answer (sample 0) `tier_no` judges (action 2); else null
ALTER TABLE cascade_store.chunk
    ADD COLUMN judged_tier_no smallint,
    -- Worst cases of the calls in `in_flight`, in the same order. Null where they are those of the rows.
    ADD COLUMN in_flight_nanousd bigint[],
    ADD CONSTRAINT chunk_buys_what_its_action_says CHECK (
        CASE action WHEN 0 THEN sample_no = 0 AND judged_tier_no IS NULL
                    WHEN 1 THEN sample_no > 0 AND judged_tier_no IS NULL
                    WHEN 2 THEN judged_tier_no IS NOT NULL ELSE false END);

-- matches_gold: whether the row's gold says that the answer is right; null without gold. value_key: equal
-- for answers to one row that say the same; 0: there is nothing to compare.
ALTER TABLE cascade_store.answer
    ADD COLUMN matches_gold boolean,
    ADD COLUMN value_key bigint NOT NULL DEFAULT 0;

ALTER TABLE cascade_store.job_tier ADD COLUMN verdicts bigint NOT NULL DEFAULT 0;

-- What a judge tier said about an answer. passed: null where its reply says neither yes nor no. text: null
-- where the judge refused the call for good, so that nothing was billed and nobody asks again.
CREATE TABLE cascade_store.verdict (
    job_id integer NOT NULL,
    row_no integer NOT NULL,
    tier_no smallint NOT NULL,
    judge_tier_no smallint NOT NULL,
    passed boolean,
    probability real,
    input_tokens integer,
    cached_input_tokens integer,
    output_tokens integer,
    reasoning_tokens integer,
    cost_nanousd bigint NOT NULL,
    latency_ms real NOT NULL,
    chunk_id bigint NOT NULL,
    judged_at timestamptz NOT NULL DEFAULT now(),
    text text,
    error text,
    finish_reason text,
    CONSTRAINT verdict_pkey PRIMARY KEY (job_id, row_no, tier_no, judge_tier_no)
) PARTITION BY LIST (job_id);

-- Jobs that are there already get their part, as every job to come does when it is submitted.
DO $$
DECLARE
    v_job integer;
BEGIN
    FOR v_job IN SELECT job_id FROM cascade_store.job LOOP
        EXECUTE 'CREATE TABLE cascade_store.verdict_' || v_job
             || ' PARTITION OF cascade_store.verdict FOR VALUES IN (' || v_job || ')';
    END LOOP;
END $$;
