//! What Accredit promises, told against the real binary over real sockets, one story a file.
//!
//! Every story starts servers of its own on loopback, in folders of its own, and ends them. What
//! needs a clock that can be set is told elsewhere, in one process.
#![expect(clippy::disallowed_methods, reason = "drives real processes in real time")]
#![expect(clippy::expect_used, reason = "a fixture is a test too, and fails loudly")]

#[path = "../../../crates/store/tests/postgres/cluster.rs"]
mod cluster;
mod stage;

mod attacks_admin;
mod attacks_bound;
mod attacks_connections;
mod attacks_limits;
mod attacks_oauth;
mod attacks_process;
mod attacks_races;
mod attacks_text;
mod attacks_tokens;
mod story_backup;
mod story_bundle_endpoint;
mod story_certificates;
mod story_compose;
mod story_contract;
mod story_demo;
mod story_edge;
mod story_edge_tls;
mod story_exits;
mod story_failover;
mod story_faults;
mod story_first_token;
mod story_guide;
mod story_key_set;
mod story_kill;
mod story_lanes;
mod story_limits;
mod story_log;
mod story_mtls;
mod story_no_secrets;
mod story_nodes;
mod story_nodes_together;
mod story_older_store;
mod story_operating;
mod story_own_ca;
mod story_pkcs11;
mod story_postgres;
mod story_readme;
mod story_restart;
mod story_revoke;
mod story_revoked_certificates;
mod story_roles;
mod story_rotation;
mod story_run;
mod story_service;
mod story_skew;
mod story_spiffe;
mod story_status_list;
mod story_upgrade;
mod story_users;
mod story_verifier;
mod story_workloads;
