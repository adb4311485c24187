//! OAuth, under the organization's issuer, where the RFCs put it.

pub mod certificate_status;
pub mod certificates;
pub mod instances;
pub mod jwt_svids;
pub mod spiffe;
pub mod status_list;
pub mod tasks;
pub mod token;
pub mod tokens;
pub mod wellknown;
