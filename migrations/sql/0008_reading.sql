-- Reading for others: a role that sees the public views and nothing else, and views that read no more than they
-- are asked for.

-- The answer that stands: what the planner chose; until it chose, the dearest tier's that fits. Only first
-- answers stand; what further samples and verdicts cost is part of the row's cost all the same.
-- A choice without a tier is a failure, unless an answer came since.
-- Every join is to a key, so that a query which wants nothing of it does not pay for it.
CREATE OR REPLACE FUNCTION cascade_store.standing(p_job integer)
RETURNS TABLE (
    row_no integer, custom_id text, line_no integer, input jsonb, gold text, status text,
    answer text, value jsonb, tier_no smallint, passed boolean, quality real, cost_nanousd bigint,
    error text
) LANGUAGE sql STABLE ROWS 100000 AS $$
    SELECT r.row_no, r.custom_id, r.line_no, r.input, r.gold,
           CASE WHEN a.row_no IS NOT NULL THEN 'answered'
                WHEN c.row_no IS NOT NULL THEN 'failed' ELSE 'pending' END AS status,
           a.text AS answer, a.value, a.tier_no, a.passed,
           CASE WHEN a.tier_no = c.tier_no THEN c.quality END AS quality,
           (coalesce((SELECT sum(x.cost_nanousd) FROM cascade_store.answer x
                       WHERE x.job_id = p_job AND x.row_no = r.row_no), 0)
            + coalesce((SELECT sum(v.cost_nanousd) FROM cascade_store.verdict v
                         WHERE v.job_id = p_job AND v.row_no = r.row_no), 0))::bigint
               AS cost_nanousd,
           CASE WHEN a.row_no IS NOT NULL THEN a.error ELSE c.error END AS error
      FROM cascade_store.row r
      LEFT JOIN cascade_store.choice c ON c.job_id = p_job AND c.row_no = r.row_no
      LEFT JOIN cascade_store.answer a
        ON a.job_id = p_job AND a.row_no = r.row_no AND a.sample_no = 0
       AND a.tier_no = coalesce(c.tier_no, (
           SELECT o.tier_no FROM cascade_store.answer o
            WHERE o.job_id = p_job AND o.row_no = r.row_no AND o.sample_no = 0
            ORDER BY (o.value IS NOT NULL) DESC, o.tier_no DESC LIMIT 1))
     WHERE r.job_id = p_job
$$;

-- The function's query for a job, to stand in a view: what a function reads is read with the rights of who asks,
-- what a view reads with those of its owner.
--   job  its number, or the column that holds it
CREATE FUNCTION cascade_store.standing_query(job text) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT replace(prosrc, 'p_job', job) FROM pg_proc
     WHERE oid = 'cascade_store.standing(integer)'::regprocedure
$$;

DO $$
DECLARE
    v record;
    v_function text;
BEGIN
    EXECUTE 'CREATE OR REPLACE VIEW cascade.results AS
        SELECT j.name AS job, s.row_no, s.custom_id, s.status, s.answer, s.value, t.name AS tier,
               s.quality, cascade.usd(s.cost_nanousd) AS cost_usd, s.error, s.passed
          FROM cascade_store.job j
         CROSS JOIN LATERAL (' || cascade_store.standing_query('j.job_id') || ') s
          LEFT JOIN cascade_store.job_tier t ON t.job_id = j.job_id AND t.tier_no = s.tier_no';
    -- Jobs that are there already keep the columns of their views.
    FOR v IN SELECT c.relname, pg_get_viewdef(c.oid) AS query
               FROM pg_class c
              WHERE c.relnamespace = 'results'::regnamespace AND c.relkind = 'v'
    LOOP
        v_function := substring(v.query FROM 'cascade_store\.standing\(\d+\)');
        IF v_function IS NOT NULL THEN
            EXECUTE 'CREATE OR REPLACE VIEW results.' || quote_ident(v.relname) || ' AS ' || replace(
                v.query, v_function, '(' || cascade_store.standing_query(
                    substring(v_function FROM '\d+')) || ')');
        END IF;
    END LOOP;
END $$;

-- Let the role cascade_reader read the schemas `cascade` and `results`, now and in future, and nothing else. It
-- can't log in by itself: `GRANT cascade_reader TO somebody`. False where this account may not make a role;
-- somebody who may makes it (CREATE ROLE cascade_reader), and calls this once more.
CREATE FUNCTION cascade_store.open_to_readers() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'cascade_reader') THEN
        BEGIN
            CREATE ROLE cascade_reader;
            GRANT cascade_reader TO CURRENT_USER;
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN NULL;  -- of another database, at the same time
            WHEN insufficient_privilege THEN RETURN false;
        END;
    END IF;
    GRANT USAGE ON SCHEMA cascade, results TO cascade_reader;
    GRANT SELECT ON ALL TABLES IN SCHEMA cascade, results TO cascade_reader;
    ALTER DEFAULT PRIVILEGES IN SCHEMA cascade GRANT SELECT ON TABLES TO cascade_reader;
    ALTER DEFAULT PRIVILEGES IN SCHEMA results GRANT SELECT ON TABLES TO cascade_reader;
    RETURN true;
END $$;
SELECT cascade_store.open_to_readers();
