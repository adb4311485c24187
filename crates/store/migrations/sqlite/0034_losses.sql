-- How often the store was found to have lost what it had answered, and how often that was declared: an
-- odd number while it is found and not declared yet. Nodes answer nothing meanwhile.
ALTER TABLE change_head ADD COLUMN losses INTEGER NOT NULL DEFAULT 0;
