//! `/v1/revocations` and `/v1/signing-keys`.

use accredit_domain::Refusal;
use accredit_domain::keys::{self, rotation};
use accredit_domain::registry::resource;
use accredit_domain::revocation::{self, time_boxed};

use super::lists::Asked;
use super::{created, ok};
use crate::dispatch::{Call, Handled};
use crate::points::POINTS_SHOWN_MAX;
use crate::propagation::Unfollowed;
use crate::{jobs, nodes};

/// Ends whatever hangs on an id.
pub fn create(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        let made = revocation::revoke(&cx, &call.json()?).await?;
        call.server.hub.points.asked(cx.tenant.id, made.rev, call.came());
        created(&made)
    })
}

/// Lifts a kill for a time before it is over.
pub fn undo(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        ok(&time_boxed::undo(&cx, &call.json()?).await?)
    })
}

/// What ending an id would end.
pub fn preview(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        let target = call.query("target").unwrap_or_default();
        ok(&revocation::preview(&cx, &target).await?)
    })
}

/// Who follows, and up to where each says that it has applied the graph.
pub fn acknowledgements(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        let number = |name: &str| call.query(name).map(|text| text.parse::<u64>()).transpose();
        let wrong = |name| move |error| Refusal::field(name, error, "say a whole number");
        let asked = number("rev").map_err(wrong("rev"))?;
        if asked.is_some_and(|rev| rev > cx.tenant.rev()) {
            // Another node may have answered with it.
            jobs::level(&call.server, &cx.tenant).await?;
        }
        let newest = cx.tenant.rev();
        let rev = asked.unwrap_or(newest);
        if rev > newest {
            let hint = "use the `rev` of an answer to a revocation";
            return Err(Refusal::field("rev", "is above the newest there is", hint).into());
        }
        let named = number("named").map_err(wrong("named"))?.map(usize::try_from);
        let named = named.transpose().unwrap_or_default().unwrap_or(POINTS_SHOWN_MAX);
        let named = named.min(POINTS_SHOWN_MAX);
        let mut told = nodes::report(&call.server, cx.tenant.id, rev, named).await?;
        if call.query("unfollowed").is_some() {
            let followed = nodes::followed(&call.server, cx.tenant.id).await?;
            told.unfollowed = Some(Unfollowed::of(resource::besides(&cx, &followed).await?));
        }
        ok(&told)
    })
}

/// Entries of the revocation graph, of one target where it is named.
pub fn list(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        let asked = Asked::of(&call)?;
        let target = call.query("target");
        asked.answer(revocation::list(&cx, asked.page.clone(), target.as_deref()).await?)
    })
}

/// The signing keys of the organization.
pub fn signing_keys(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        let asked = Asked::of(&call)?;
        asked.answer(keys::list(&cx, asked.page.clone()).await?)
    })
}

/// Lets the next signing key sign.
pub fn rotate_signing_key(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        created(&rotation::rotate(&cx, &call.json()?).await?)
    })
}
