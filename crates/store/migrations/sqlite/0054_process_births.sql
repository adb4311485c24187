-- How many a rule has brought into being lately.
CREATE INDEX process_births ON process (org, credential, born_at);
