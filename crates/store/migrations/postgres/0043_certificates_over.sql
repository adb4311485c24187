-- What is over is found by its time.
CREATE INDEX certificate_expires ON certificate (expires_at);
