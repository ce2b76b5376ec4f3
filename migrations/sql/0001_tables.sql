CREATE SCHEMA cascade_store;
CREATE SCHEMA cascade;
CREATE SCHEMA results;

CREATE TABLE cascade_store.job (
    job_id integer GENERATED ALWAYS AS IDENTITY,
    name text NOT NULL,
    state text NOT NULL DEFAULT 'queued',
    reason text,
    spec jsonb NOT NULL,
    rows_total integer NOT NULL DEFAULT 0,
    rows_failed integer NOT NULL DEFAULT 0,
    rows_unfunded integer NOT NULL DEFAULT 0,
    waves integer NOT NULL DEFAULT 0,
    quality real,
    created_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    planned_at timestamptz,
    planned_calls bigint,
    plan_failures integer NOT NULL DEFAULT 0,
    finished_at timestamptz,
    CONSTRAINT job_pkey PRIMARY KEY (job_id),
    CONSTRAINT job_name_key UNIQUE (name),
    CONSTRAINT job_state_check
        CHECK (state IN ('queued', 'running', 'paused', 'finished', 'cancelled', 'failed'))
);

-- One narrow row per job, updated at every settlement: apart from `job`, and with room on the page,
-- so that each update stays on its page (HOT) and touches no index.
CREATE TABLE cascade_store.balance (
    job_id integer NOT NULL,
    budget_nanousd bigint NOT NULL,
    spent_nanousd bigint NOT NULL DEFAULT 0,
    reserved_nanousd bigint NOT NULL DEFAULT 0,
    at_risk_nanousd bigint NOT NULL DEFAULT 0,
    overrun_nanousd bigint NOT NULL DEFAULT 0,
    ring_fence_nanousd bigint NOT NULL DEFAULT 0,
    CONSTRAINT balance_pkey PRIMARY KEY (job_id),
    CONSTRAINT balance_job_id_fkey FOREIGN KEY (job_id)
        REFERENCES cascade_store.job (job_id) ON DELETE CASCADE,
    CONSTRAINT balance_never_above_budget
        CHECK (spent_nanousd + at_risk_nanousd + reserved_nanousd <= budget_nanousd),
    CONSTRAINT balance_never_negative
        CHECK (spent_nanousd >= 0 AND reserved_nanousd >= 0 AND at_risk_nanousd >= 0
               AND overrun_nanousd >= 0 AND ring_fence_nanousd >= 0)
) WITH (fillfactor = 20);

CREATE TABLE cascade_store.job_tier (
    job_id integer NOT NULL,
    tier_no smallint NOT NULL,
    name text NOT NULL,
    model text NOT NULL,
    stopped text,
    calls bigint NOT NULL DEFAULT 0,
    answers bigint NOT NULL DEFAULT 0,
    first_answers bigint NOT NULL DEFAULT 0,
    refused_rows bigint NOT NULL DEFAULT 0,
    lost_calls bigint NOT NULL DEFAULT 0,
    escalated bigint NOT NULL DEFAULT 0,
    input_tokens bigint NOT NULL DEFAULT 0,
    output_tokens bigint NOT NULL DEFAULT 0,
    spent_nanousd bigint NOT NULL DEFAULT 0,
    latency_buckets bigint[] NOT NULL DEFAULT '{}',
    CONSTRAINT job_tier_pkey PRIMARY KEY (job_id, tier_no),
    CONSTRAINT job_tier_job_id_fkey FOREIGN KEY (job_id)
        REFERENCES cascade_store.job (job_id) ON DELETE CASCADE
) WITH (fillfactor = 20);

-- Rows, answers and choices are partitioned by job: a job of ten million rows is deleted by dropping
-- its tables, and its indexes never grow into another job's pages. No foreign keys here: a check per
-- row of ten million buys nothing that dropping the partition does not give.
CREATE TABLE cascade_store.row (
    job_id integer NOT NULL,
    row_no integer NOT NULL,
    line_no integer NOT NULL,
    custom_id text NOT NULL,
    gold text,
    worst_nanousd bigint[] NOT NULL,
    input jsonb NOT NULL,
    CONSTRAINT row_pkey PRIMARY KEY (job_id, row_no)
) PARTITION BY LIST (job_id);

CREATE TABLE cascade_store.answer (
    job_id integer NOT NULL,
    row_no integer NOT NULL,
    tier_no smallint NOT NULL,
    sample_no smallint NOT NULL DEFAULT 0,
    passed boolean,
    input_tokens integer,
    cached_input_tokens integer,
    output_tokens integer,
    reasoning_tokens integer,
    cost_nanousd bigint NOT NULL,
    latency_ms real NOT NULL,
    logprob_mean real,
    logprob_min real,
    logprob_sum real,
    label_logprob real,
    chunk_id bigint NOT NULL,
    answered_at timestamptz NOT NULL DEFAULT now(),
    text text,
    value jsonb,
    error text,
    finish_reason text,
    signals jsonb,
    CONSTRAINT answer_pkey PRIMARY KEY (job_id, row_no, tier_no, sample_no)
) PARTITION BY LIST (job_id);

-- What the planner chose for a row: the answer that stands, or that the row failed (tier_no null).
CREATE TABLE cascade_store.choice (
    job_id integer NOT NULL,
    row_no integer NOT NULL,
    tier_no smallint,
    sample_no smallint NOT NULL DEFAULT 0,
    quality real,
    error text,
    CONSTRAINT choice_pkey PRIMARY KEY (job_id, row_no)
) PARTITION BY LIST (job_id);

-- ready: nobody holds it; leased: `owner` does, until `lease_expires_at`, under `fence`;
-- done: every row of it was asked, or can't be afforded.
CREATE TABLE cascade_store.chunk (
    chunk_id bigint GENERATED ALWAYS AS IDENTITY,
    job_id integer NOT NULL,
    tier_no smallint NOT NULL,
    tier_name text NOT NULL,
    wave integer NOT NULL,
    state text NOT NULL DEFAULT 'ready',
    row_from integer NOT NULL,
    row_to integer NOT NULL,
    row_nos integer[],
    row_count integer NOT NULL,
    fence bigint NOT NULL DEFAULT 0,
    turn_no bigint NOT NULL DEFAULT 0,
    owner text,
    lease_expires_at timestamptz,
    not_before timestamptz,
    published_at timestamptz,
    reserved_nanousd bigint NOT NULL DEFAULT 0,
    lent_nanousd bigint NOT NULL DEFAULT 0,
    in_flight integer[],
    CONSTRAINT chunk_pkey PRIMARY KEY (chunk_id),
    CONSTRAINT chunk_job_id_fkey FOREIGN KEY (job_id)
        REFERENCES cascade_store.job (job_id) ON DELETE CASCADE,
    CONSTRAINT chunk_state_check CHECK (state IN ('ready', 'leased', 'done')),
    CONSTRAINT chunk_money_is_held_by_a_lease
        CHECK (state = 'leased' OR (reserved_nanousd = 0 AND lent_nanousd = 0)),
    CONSTRAINT chunk_never_negative CHECK (reserved_nanousd >= 0 AND lent_nanousd >= 0)
) WITH (fillfactor = 70);
CREATE INDEX chunk_open_idx ON cascade_store.chunk (job_id, state, tier_name, chunk_id)
    WHERE state <> 'done';
CREATE INDEX chunk_lease_idx ON cascade_store.chunk (lease_expires_at) WHERE state = 'leased';
CREATE INDEX chunk_job_idx ON cascade_store.chunk (job_id, tier_no);

-- Append-only. Deltas of the balance; their sums are the balance.
CREATE TABLE cascade_store.entry (
    entry_id bigint GENERATED ALWAYS AS IDENTITY,
    job_id integer NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    kind text NOT NULL,
    tier_no smallint,
    chunk_id bigint,
    fence bigint,
    calls integer NOT NULL DEFAULT 0,
    budget_nanousd bigint NOT NULL DEFAULT 0,
    spent_nanousd bigint NOT NULL DEFAULT 0,
    reserved_nanousd bigint NOT NULL DEFAULT 0,
    at_risk_nanousd bigint NOT NULL DEFAULT 0,
    overrun_nanousd bigint NOT NULL DEFAULT 0,
    reason text,
    actor text,
    CONSTRAINT entry_pkey PRIMARY KEY (entry_id),
    CONSTRAINT entry_job_id_fkey FOREIGN KEY (job_id)
        REFERENCES cascade_store.job (job_id) ON DELETE CASCADE,
    CONSTRAINT entry_kind_check CHECK (
        kind IN ('budget', 'reserve', 'settle', 'release', 'write_off', 'reconcile'))
);
CREATE INDEX entry_job_idx ON cascade_store.entry (job_id, entry_id);

-- A call that may have been billed and nobody can say: its worst case is at risk. `forgiven`: the user
-- wants the row asked once more, and this call does not count among those that spoke against it.
CREATE TABLE cascade_store.lost_call (
    lost_call_id bigint GENERATED ALWAYS AS IDENTITY,
    job_id integer NOT NULL,
    row_no integer NOT NULL,
    tier_no smallint NOT NULL,
    chunk_id bigint NOT NULL,
    fence bigint NOT NULL,
    amount_nanousd bigint NOT NULL,
    reason text NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    released_at timestamptz,
    forgiven boolean NOT NULL DEFAULT false,
    CONSTRAINT lost_call_pkey PRIMARY KEY (lost_call_id),
    CONSTRAINT lost_call_job_id_fkey FOREIGN KEY (job_id)
        REFERENCES cascade_store.job (job_id) ON DELETE CASCADE
);
CREATE INDEX lost_call_row_idx ON cascade_store.lost_call (job_id, row_no, tier_no);

-- A tier refused this row for good: it is not asked again.
CREATE TABLE cascade_store.refusal (
    job_id integer NOT NULL,
    row_no integer NOT NULL,
    tier_no smallint NOT NULL,
    message text NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT refusal_pkey PRIMARY KEY (job_id, row_no, tier_no),
    CONSTRAINT refusal_job_id_fkey FOREIGN KEY (job_id)
        REFERENCES cascade_store.job (job_id) ON DELETE CASCADE
);

-- When the parts of the machinery last said that they live.
CREATE TABLE cascade_store.heartbeat (
    part text NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    detail text,
    CONSTRAINT heartbeat_pkey PRIMARY KEY (part)
);
