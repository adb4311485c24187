//! World, fixtures and conformance suites for tests.
