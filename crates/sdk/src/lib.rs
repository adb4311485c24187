//! Accredit as a library: a Verifier that follows revocations, a guard for services, an Agent that gets tokens.
