//! Environment: a boundary within an organization. An agent and a resource of different ones never
//! meet in a token, unless a permission says for that resource that they may.
//!
//! It is checked where a permission is set, so that whoever sets it is told, and again where a token
//! is issued, so that nothing that was set before or otherwise gets around it.

use serde::{Deserialize, Serialize};

use crate::refusal::{Refusal, Rule};

/// Where something runs, and what it may meet.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Environment {
    /// Development; where nobody says.
    #[default]
    Dev,
    /// Rehearsal.
    Staging,
    /// Production.
    Prod,
}

impl Environment {
    /// Every environment.
    pub const ALL: [Self; 3] = [Self::Dev, Self::Staging, Self::Prod];

    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Staging => "staging",
            Self::Prod => "prod",
        }
    }

    /// The one that is written so.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|environment| environment.as_str() == text)
    }
}

/// Reads the environment that a request names.
pub(super) fn asked(text: &str) -> Result<Environment, Refusal> {
    Environment::parse(text).ok_or_else(|| {
        Refusal::field("environment", "is none that there is", "use `dev`, `staging` or `prod`")
    })
}

/// Why an agent and a resource do not meet.
pub(crate) fn apart(
    (agent, of_agent): (&str, Environment),
    (resource, of_resource): (&str, Environment),
) -> Refusal {
    Refusal::new(
        Rule::EnvironmentBoundary,
        format!(
            "agent `{agent}` is in `{}` and resource `{resource}` in `{}`",
            of_agent.as_str(),
            of_resource.as_str()
        ),
        "use an agent of that environment; where they are to meet all the same, an administrator \
         grants it: `accredit permission set … --across-environments`",
    )
}
