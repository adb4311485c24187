-- Lists of revoked certificates are made, and single certificates found, by issuer and number.
CREATE INDEX certificate_number ON certificate (org, key, number);
