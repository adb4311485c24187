-- How many a rule has brought into being lately.
CREATE INDEX workload_births ON workload (org, credential, born_at);
