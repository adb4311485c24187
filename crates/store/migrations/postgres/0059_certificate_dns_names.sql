-- The hosts that a certificate names, with blanks between.
ALTER TABLE certificate ADD COLUMN dns_names TEXT NOT NULL DEFAULT '';
