-- A question is asked once for all records that wait in it: a row a question, named by the record that scores best.
CREATE OR REPLACE VIEW open_questions AS
SELECT DISTINCT ON (s.question_id)
       d.batch_id, d.record_key, b.run_id, b.source, b.loaded_at, d.reason, d.score, d.person_id,
       count(*) OVER question AS waiting, -- records
       string_agg(concat_ws(' ', d.first_name, d.last_name, d.address, p.first_name, p.last_name, p.address), ' ')
           OVER question AS names,
       s.question_id
FROM spellings AS s JOIN decisions AS d USING (batch_id, record_key) JOIN batches AS b USING (batch_id)
LEFT JOIN people AS p ON p.person_id = d.person_id
WHERE s.question_id IS NOT NULL AND b.source <> 'people'
WINDOW question AS (PARTITION BY s.question_id)
ORDER BY s.question_id, d.score DESC NULLS LAST, d.batch_id, d.record_key;

-- A question is of each run and batch that has brought a record of it.
CREATE OR REPLACE FUNCTION asked_questions(of_run text, of_batch text, for_reason text, with_text text)
RETURNS SETOF open_questions LANGUAGE sql STABLE AS $$
    SELECT * FROM open_questions AS q
    WHERE (for_reason IS NULL OR reason = for_reason) AND (with_text IS NULL OR names ILIKE with_text)
      AND (of_run IS NULL AND of_batch IS NULL
           OR EXISTS (SELECT FROM spellings AS s JOIN batches AS b USING (batch_id)
                      WHERE s.question_id = q.question_id
                        AND (of_run IS NULL OR b.run_id = of_run) AND (of_batch IS NULL OR b.batch_id = of_batch)))
$$;
