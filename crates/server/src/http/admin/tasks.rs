//! `/v1/tasks`.

use accredit_domain::registry::task;

use super::lists::Asked;
use super::{made, reason, shown};
use crate::dispatch::{Call, Handled};

/// Makes a task.
pub fn create(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        made(&cx, &task::create(&cx, &call.json()?).await?)
    })
}

/// Tasks of the organization, or of one agent.
pub fn list(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        let asked = Asked::of(&call)?;
        let agent = call.query("agent");
        asked.answer(task::list(&cx, asked.page.clone(), agent.as_deref()).await?)
    })
}

/// One task.
pub fn get(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        shown(&cx, &task::find(&cx, call.path("key")).await?)
    })
}

/// Ends a task.
pub fn end(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        shown(&cx, &task::end(&cx, call.path("key"), &reason(&call)?).await?)
    })
}
