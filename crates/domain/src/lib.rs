//! Registry, issuance, revocation and audit as decisions over ports; no HTTP, no SQL.
