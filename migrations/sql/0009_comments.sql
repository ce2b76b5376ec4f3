-- What the public views and their columns hold: `\d+ cascade.jobs` says it, and the documentation's reference is made of it.

DO $$
DECLARE
    c record;
BEGIN
    FOR c IN
        SELECT * FROM (VALUES
            ('jobs', 'Every job: its state, its rows, its money.'),
            ('rows', 'The input of every row, as it was read.'),
            ('answers', 'Every answer that was bought or taken over, whether it stands or not. A row has several where it was asked again.'),
            ('verdicts', 'What judges said of answers.'),
            ('results', 'The answer that stands, for every row of every job. A job''s own view, results."JOB", has the input and the fields of the output as columns, too.'),
            ('decisions', 'Why each row was asked: what the planner expected of each purchase when it made it.'),
            ('waves', 'The waves that the planner released.'),
            ('calls_by_tier', 'A job''s tiers: calls, answers, tokens, money.'),
            ('ledger', 'The ledger, entry by entry. Amounts are changes: their sums are the balances. Entries are never changed.'),
            ('notifications', 'Messages about jobs, to whom, and what became of them.')
        ) AS v (view, text)
    LOOP
        EXECUTE 'COMMENT ON VIEW cascade.' || quote_ident(c.view) || ' IS ' || quote_literal(c.text);
    END LOOP;

    -- What has the same name in several views means the same in all of them, but for those named below.
    FOR c IN
        SELECT p.relname AS view, a.attname AS "column", v.text
          FROM (VALUES
            ('job', 'The job''s name.'),
            ('row_no', 'The row''s number in its job, from 0.'),
            ('custom_id', 'The row''s own id, else its number as text.'),
            ('tier', 'The tier''s name.'),
            ('tier_no', 'The tier''s place, from 0, cheap to dear.'),
            ('model', 'The tier''s model.'),
            ('answer', 'The text that the model gave.'),
            ('value', 'The answer as the output declares it; null where it does not fit.'),
            ('passed', 'Whether the check lets the answer pass; null where none decides.'),
            ('error', 'Why the row failed, or the answer does not fit or pass.'),
            ('input_tokens', 'Tokens of input, as the provider counted them.'),
            ('cached_input_tokens', 'Tokens of input that the provider had in its cache.'),
            ('output_tokens', 'Tokens of output, reasoning among them.'),
            ('reasoning_tokens', 'Tokens of output that the model spent on thinking.'),
            ('cost_usd', 'What it cost, in dollars.'),
            ('cost_nanousd', 'What it cost, in whole nano-dollars.'),
            ('latency_ms', 'From sending the call to its answer, in milliseconds.'),
            ('quality', 'Calibrated probability of being right; null where nothing measures that.'),
            ('budget_usd', 'The budget, in dollars.'),
            ('spent_usd', 'What calls cost, in dollars.'),
            ('reserved_usd', 'Set aside for calls in flight, in dollars.'),
            ('at_risk_usd', 'What calls may have cost whose end is unknown, in dollars.'),
            ('overrun_usd', 'What providers billed beyond the declared worst case, in dollars.'),
            ('saved_usd', 'What was not paid because the answer was there already, in dollars.'),
            ('wave', 'The wave''s number in its job.'),
            ('price_of_money_per_usd', 'The gain that a dollar had to bring to be spent then.')
          ) AS v ("column", text)
          JOIN pg_attribute a ON a.attname = v."column" AND a.attnum > 0
          JOIN pg_class p ON p.oid = a.attrelid AND p.relkind = 'v' AND p.relnamespace = 'cascade'::regnamespace
    LOOP
        EXECUTE 'COMMENT ON COLUMN cascade.' || quote_ident(c.view) || '.' || quote_ident(c."column")
            || ' IS ' || quote_literal(c.text);
    END LOOP;

    FOR c IN
        SELECT * FROM (VALUES
            ('jobs', 'status', 'queued, running, paused, finished, cancelled or failed.'),
            ('jobs', 'reason', 'Why it failed or waits.'),
            ('jobs', 'rows_total', 'Rows of the job.'),
            ('jobs', 'rows_answered', 'Rows that have an answer.'),
            ('jobs', 'rows_failed', 'Rows that got none, and will get none by themselves.'),
            ('jobs', 'rows_pending', 'Rows to come.'),
            ('jobs', 'quality', 'Mean calibrated quality of the answers that stand; null where nothing measures it.'),
            ('jobs', 'waves', 'Waves that were released.'),
            ('jobs', 'created_at', 'When it was submitted.'),
            ('jobs', 'started_at', 'When its first chunk was claimed.'),
            ('jobs', 'finished_at', 'When it was over; null while it is not.'),
            ('jobs', 'spec', 'What was submitted: prompt, output, tiers and all, as it was frozen.'),
            ('jobs', 'rows_duplicate', 'Rows that ask what another row of the job asks.'),
            ('rows', 'line_no', 'The line of the data that it was read from, from 1.'),
            ('rows', 'input', 'The record.'),
            ('rows', 'gold', 'The right answer that was given with it, as text.'),
            ('answers', 'finish_reason', 'How the answer ended, as the provider called it.'),
            ('answers', 'truncated', 'Whether it was cut off at the token limit.'),
            ('answers', 'logprob_mean', 'Mean log-probability of its tokens.'),
            ('answers', 'logprob_min', 'The least log-probability of a token.'),
            ('answers', 'logprob_sum', 'Log-probability of the whole answer.'),
            ('answers', 'label_logprob', 'Log-probability of the choice; exp() of it is how sure the model was.'),
            ('answers', 'answered_at', 'When it was stored.'),
            ('answers', 'sample_no', '0 for the first answer of a tier to a row, more for further ones.'),
            ('answers', 'matches_gold', 'Whether it is the right answer, where gold says so and the check is another.'),
            ('answers', 'signals', 'Further evidence.'),
            ('verdicts', 'tier', 'Whose answer was judged.'),
            ('verdicts', 'judge', 'The tier that judged it.'),
            ('verdicts', 'passed', 'Whether the judge said yes; null where it said neither.'),
            ('verdicts', 'probability', 'How probable its yes was, by its log-probabilities.'),
            ('verdicts', 'verdict', 'What it said.'),
            ('verdicts', 'error', 'Why its word could not be read.'),
            ('verdicts', 'judged_at', 'When it was stored.'),
            ('results', 'status', 'pending, answered or failed.'),
            ('results', 'tier', 'Whose answer it is.'),
            ('results', 'cost_usd', 'What all calls for the row cost, in dollars.'),
            ('decisions', 'action', 'answer: ask for an answer. sample: for a second one of the same tier. judge: for a verdict.'),
            ('decisions', 'reason', 'start: the row''s first. probe: to learn. escalate: for a better answer. fill: so that the row has one at all.'),
            ('decisions', 'expected_gain', 'How much quality it was expected to add.'),
            ('decisions', 'expected_cost_usd', 'What it was expected to cost, in dollars.'),
            ('decisions', 'draw_probability', 'How probable it was, where rows were drawn at random.'),
            ('waves', 'planned_at', 'When it was planned.'),
            ('waves', 'purchases', 'How much it buys.'),
            ('waves', 'free_usd', 'Dollars that were free then.'),
            ('waves', 'basis', 'What the planner had to go by.'),
            ('waves', 'extra', 'Further figures of the plan.'),
            ('calls_by_tier', 'calls', 'Calls that were sent.'),
            ('calls_by_tier', 'answers', 'Answers that came.'),
            ('calls_by_tier', 'escalated', 'Rows that came here from another tier.'),
            ('calls_by_tier', 'refused_rows', 'Rows that the provider refused to answer.'),
            ('calls_by_tier', 'lost_calls', 'Calls whose end is unknown.'),
            ('calls_by_tier', 'stopped', 'Why the tier was stopped; null where it was not.'),
            ('calls_by_tier', 'verdicts', 'Verdicts that it gave as a judge.'),
            ('calls_by_tier', 'cached', 'Answers that were taken over from earlier calls.'),
            ('ledger', 'entry_id', 'The entry''s number.'),
            ('ledger', 'at', 'When it was made.'),
            ('ledger', 'kind', 'What happened.'),
            ('ledger', 'tier', 'The tier that it concerns; null for what concerns the job.'),
            ('ledger', 'chunk_id', 'The chunk that it concerns.'),
            ('ledger', 'calls', 'How many calls it is about.'),
            ('ledger', 'reason', 'Why, for what somebody did or what was lost.'),
            ('ledger', 'actor', 'Who, for what somebody did.'),
            ('notifications', 'type', 'job.finished, job.failed, job.paused, job.cancelled or job.budget_reached.'),
            ('notifications', 'percent', 'The share of the budget that was reached.'),
            ('notifications', 'target', 'Who is told; of an address only what may be shown.'),
            ('notifications', 'at', 'When it happened.'),
            ('notifications', 'state', 'What became of the message.'),
            ('notifications', 'tries', 'How often it was sent.'),
            ('notifications', 'delivered_at', 'When it was taken.'),
            ('notifications', 'next_at', 'When it is tried again.'),
            ('notifications', 'error', 'What the receiver said instead of yes.'),
            ('notifications', 'webhook_id', 'The message''s id, the same each time that it is sent.')
        ) AS v (view, "column", text)
    LOOP
        EXECUTE 'COMMENT ON COLUMN cascade.' || quote_ident(c.view) || '.' || quote_ident(c."column")
            || ' IS ' || quote_literal(c.text);
    END LOOP;
END $$;
