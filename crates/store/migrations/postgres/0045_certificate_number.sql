-- Lists of revoked certificates are made, and single certificates found, by issuer and serial number.
CREATE INDEX certificate_number ON certificate (org, key, number);
