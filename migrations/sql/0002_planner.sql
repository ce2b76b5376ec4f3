-- What the planner decided, and what it needs to know of rows and chunks.

-- One line per wave. `basis`: what its beliefs rest on. `extra`: seed, and what was in flight.
CREATE TABLE cascade_store.wave (
    job_id integer NOT NULL,
    wave integer NOT NULL,
    planned_at timestamptz NOT NULL DEFAULT now(),
    price_of_money double precision NOT NULL,
    free_nanousd bigint NOT NULL,
    purchases integer NOT NULL,
    basis text,
    extra jsonb,
    CONSTRAINT wave_pkey PRIMARY KEY (job_id, wave),
    CONSTRAINT wave_job_id_fkey FOREIGN KEY (job_id)
        REFERENCES cascade_store.job (job_id) ON DELETE CASCADE
);

-- Why a row was to be asked: one line per purchase, so at least one per row. Columns in the order that
-- wastes no bytes. A purchase that could not be afforded and was planned again is told of once, by its
-- last wave.
CREATE TABLE cascade_store.decision (
    job_id integer NOT NULL,
    row_no integer NOT NULL,
    tier_no smallint NOT NULL,
    action smallint NOT NULL,
    wave integer NOT NULL,
    expected_nanousd bigint NOT NULL,
    gain real NOT NULL,
    draw_probability real NOT NULL,
    reason smallint NOT NULL,
    CONSTRAINT decision_pkey PRIMARY KEY (job_id, row_no, tier_no, action)
) PARTITION BY LIST (job_id);

-- Jobs that are there already go on with the new planner.
DO $$
DECLARE
    j integer;
BEGIN
    FOR j IN
        SELECT job_id FROM cascade_store.job
         WHERE to_regclass('cascade_store.answer_' || job_id) IS NOT NULL
    LOOP
        EXECUTE 'CREATE TABLE cascade_store.decision_' || j
             || ' PARTITION OF cascade_store.decision FOR VALUES IN (' || j || ')';
    END LOOP;
END $$;

-- labels: check, gold, judge or agreement; null until a job made before this is planned again.
-- plan_below: the next wave is planned when fewer chunks than this are open (or none).
-- plan_not_before: and not before this, while any is open, as planning takes time as well.
-- plan_generation: raised by whoever changes what a plan rests on while it may be being made.
ALTER TABLE cascade_store.job
    ADD COLUMN labels text,
    ADD COLUMN plan_below integer NOT NULL DEFAULT 1,
    ADD COLUMN plan_not_before timestamptz,
    ADD COLUMN plan_generation integer NOT NULL DEFAULT 0,
    ADD CONSTRAINT job_labels_check CHECK (labels IN ('check', 'gold', 'judge', 'agreement'));

-- input_bytes: size of the row's request to the first tier; stratum: number of the user's group. Null in
-- jobs made before this.
ALTER TABLE cascade_store.row
    ADD COLUMN input_bytes integer,
    ADD COLUMN stratum integer;

-- action: 0 answers, 1 second samples, 2 a judge's words. sample_no: of the answers that it brings.
-- promised_nanousd: what its calls are expected to cost beyond what the ring fence holds for them.
-- fence_parts: what the ring fence holds for each of its rows, in their order; null: the row's worst case on
-- this tier.
ALTER TABLE cascade_store.chunk
    ADD COLUMN action smallint NOT NULL DEFAULT 0,
    ADD COLUMN sample_no smallint NOT NULL DEFAULT 0,
    ADD COLUMN promised_nanousd bigint NOT NULL DEFAULT 0,
    ADD COLUMN fence_parts bigint[];

CREATE VIEW cascade.waves AS
SELECT j.name AS job, w.wave, w.planned_at, w.purchases,
       cascade.usd(w.free_nanousd) AS free_usd, w.price_of_money AS price_of_money_per_usd, w.basis,
       w.extra
  FROM cascade_store.wave w JOIN cascade_store.job j USING (job_id);

CREATE VIEW cascade.decisions AS
SELECT j.name AS job, d.row_no, r.custom_id, t.name AS tier,
       (ARRAY['answer', 'sample', 'judge'])[d.action + 1] AS action,
       (ARRAY['start', 'probe', 'escalate', 'fill'])[d.reason + 1] AS reason,
       d.wave, d.gain AS expected_gain, cascade.usd(d.expected_nanousd) AS expected_cost_usd,
       w.price_of_money AS price_of_money_per_usd, d.draw_probability
  FROM cascade_store.decision d
  JOIN cascade_store.job j USING (job_id)
  JOIN cascade_store.job_tier t USING (job_id, tier_no)
  JOIN cascade_store.row r USING (job_id, row_no)
  JOIN cascade_store.wave w USING (job_id, wave);
