-- Pairs of people whom a sweep was not sure of are asked about too: a row a pair, of the latest sweep that found it.
CREATE VIEW open_pairs AS
SELECT DISTINCT ON (least(one.stands_for, other.stands_for), greatest(one.stands_for, other.stands_for))
       d.batch_id, d.record_key, b.run_id, b.source, b.loaded_at, d.reason, d.score, other.stands_for AS person_id,
       concat_ws(' ', d.first_name, d.last_name, d.address, p.first_name, p.last_name, p.address) AS names
FROM decisions AS d JOIN batches AS b USING (batch_id)
CROSS JOIN LATERAL (SELECT coalesce(duplicate_of, person_id) AS stands_for FROM people
                    WHERE person_id = CASE b.source WHEN 'people' THEN d.source_key::bigint END) AS one
CROSS JOIN LATERAL (SELECT coalesce(duplicate_of, person_id) AS stands_for FROM people
                    WHERE person_id = d.person_id) AS other
JOIN people AS p ON p.person_id = other.stands_for
WHERE d.decision = 'REVIEW' AND b.source = 'people' AND one.stands_for <> other.stands_for
  AND NOT EXISTS (SELECT FROM apart AS a WHERE (a.person_id, a.other_id) = (least(one.stands_for, other.stands_for),
                                                                            greatest(one.stands_for, other.stands_for)))
ORDER BY least(one.stands_for, other.stands_for), greatest(one.stands_for, other.stands_for), b.loaded_at DESC,
         d.score DESC NULLS LAST, d.batch_id, d.record_key;

CREATE OR REPLACE VIEW open_questions AS
(SELECT DISTINCT ON (s.question_id)
        d.batch_id, d.record_key, b.run_id, b.source, b.loaded_at, d.reason, d.score, d.person_id,
        count(*) OVER question AS waiting, -- records
        string_agg(concat_ws(' ', d.first_name, d.last_name, d.address, p.first_name, p.last_name, p.address), ' ')
            OVER question AS names,
        s.question_id
 FROM spellings AS s JOIN decisions AS d USING (batch_id, record_key) JOIN batches AS b USING (batch_id)
 LEFT JOIN people AS p ON p.person_id = d.person_id
 WHERE s.question_id IS NOT NULL AND b.source <> 'people'
 WINDOW question AS (PARTITION BY s.question_id)
 ORDER BY s.question_id, d.score DESC NULLS LAST, d.batch_id, d.record_key)
UNION ALL
SELECT batch_id, record_key, run_id, source, loaded_at, reason, score, person_id, 1, names, NULL FROM open_pairs;

CREATE OR REPLACE FUNCTION asked_questions(of_run text, of_batch text, for_reason text, with_text text)
RETURNS SETOF open_questions LANGUAGE sql STABLE AS $$
    SELECT * FROM open_questions AS q
    WHERE (for_reason IS NULL OR reason = for_reason) AND (with_text IS NULL OR names ILIKE with_text)
      AND ((of_run IS NULL OR run_id = of_run) AND (of_batch IS NULL OR batch_id = of_batch)
           OR EXISTS (SELECT FROM spellings AS s JOIN batches AS b USING (batch_id)
                      WHERE s.question_id = q.question_id
                        AND (of_run IS NULL OR b.run_id = of_run) AND (of_batch IS NULL OR b.batch_id = of_batch)))
$$;
