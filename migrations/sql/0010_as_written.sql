-- The specification as it was written: jsonb keeps no order of keys, and the order of a schema's properties is that
-- of the columns of results, and of what a model is asked to say first. Nothing for jobs of an earlier version.
ALTER TABLE cascade_store.job ADD COLUMN spec_as_written json;

-- Exact, with nine decimals: a quotient would have twenty and more. Views call it, those of jobs that are there, too.
CREATE OR REPLACE FUNCTION cascade.usd(nanousd bigint) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT nanousd * 0.000000001 $$;
