-- Where people disagree about a pair, that is shown, and no model learns from it.

-- What somebody said who found that somebody else had answered already: it has changed nothing.
ALTER TABLE judgements ADD COLUMN dissents boolean NOT NULL DEFAULT false;

-- Judgements of different users who say different things about one pair of records, the last word of each.
CREATE VIEW disagreements AS
WITH said AS (
    SELECT DISTINCT ON (pair, judged_by) judgement_id, judged_by, is_match, pair
    FROM judgements, md5(ROW(left_first_name, left_last_name, left_address, right_first_name, right_last_name,
                             right_address)::text) AS pair
    WHERE coalesce(right_first_name, right_last_name, right_address) IS NOT NULL -- else the person was gone
    ORDER BY pair, judged_by, judgement_id DESC
)
SELECT yes.judgement_id AS said_yes, no.judgement_id AS said_no
FROM said AS yes JOIN said AS no USING (pair) WHERE yes.is_match AND NOT no.is_match;
