//! A state too large for one message: it comes in pieces, in the stream and as a snapshot, and is
//! kept and read again in pieces. What lacks one is not believed.

use std::sync::atomic::Ordering;
use std::time::Duration;

use accredit::Verifier;
use accredit_wire::ids::AgentId;
use accredit_wire::revocations::Follower;
use accredit_wire::verify::Rejection;

use crate::issuer::{Grant, Issuer, PiecesSent, now, until};

/// Three pieces, the last of them not full.
const MANY: u64 = 20_000;

async fn rejection(verifier: &Verifier, token: &str) -> Option<Rejection> {
    let outcome = verifier.verify_token(token).await;
    outcome.err().map(|refusal| refusal.rejection().clone())
}

fn rev(verifier: &Verifier) -> u64 {
    verifier.status().expect("a state").rev
}

async fn crowded() -> Issuer {
    let issuer = Issuer::start().await;
    issuer.revoke_many(0, MANY);
    issuer
}

/// What was revoked in the middle of the crowd, and its token.
fn victim(issuer: &Issuer) -> (AgentId, String) {
    let grant = Grant { agent: AgentId::new(now().millis(), [5; 10]), ..Grant::default() };
    let token = issuer.token(&grant);
    issuer.revoke(grant.agent);
    (grant.agent, token)
}

#[tokio::test]
async fn a_large_state_comes_in_pieces_and_is_kept_in_pieces() {
    let issuer = Issuer::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    issuer.revoke_many(0, MANY / 2);
    let (agent, dead) = victim(&issuer);
    issuer.revoke_many(MANY / 2, MANY / 2);
    let alive = issuer.token(&Grant::default());
    let builder = || issuer.builder().age_max(Duration::from_secs(10)).state_dir(folder.path());
    let verifier = builder().connect().await.expect("a verifier");
    assert_eq!(verifier.status().expect("a state").entries, MANY as usize + 1);
    assert_eq!(rejection(&verifier, &alive).await, None);
    let expected = Some(Rejection::Revoked { id: agent.any() });
    assert_eq!(rejection(&verifier, &dead).await, expected);
    let all = rev(&verifier);
    let kept = || {
        let file = std::fs::read(folder.path().join("revocations")).unwrap_or_default();
        Follower::from_bytes(&file, issuer.url(), None).map(|follower| follower.state().rev())
    };
    until("a file", || kept() == Ok(all)).await;

    // Nothing but the file to start from.
    issuer.set_down(true);
    drop(verifier);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let verifier = builder().connect().await.expect("a verifier");
    assert_eq!(rev(&verifier), all);
    assert_eq!(rejection(&verifier, &alive).await, None);
    assert_eq!(rejection(&verifier, &dead).await, expected);
    assert_eq!(verifier.alarms(), []);
}

#[tokio::test]
async fn who_lacks_more_than_a_message_holds_gets_pieces() {
    let issuer = Issuer::start().await;
    let verifier = issuer.builder().age_max(Duration::from_secs(5)).connect().await;
    let verifier = verifier.expect("a verifier");
    until("the feed", || !issuer.inner().introduced.lock().expect("there").is_empty()).await;
    // A running stream: the next heartbeat goes on from where it is not.
    issuer.revoke_many(0, MANY);
    let (agent, dead) = victim(&issuer);
    until("the snapshot", || rev(&verifier) == MANY + 2).await;
    assert!(issuer.inner().snapshots.load(Ordering::SeqCst) > 0);
    assert_eq!(rejection(&verifier, &dead).await, Some(Rejection::Revoked { id: agent.any() }));
    // And a stream that begins anew has them itself.
    let snapshots = issuer.inner().snapshots.load(Ordering::SeqCst);
    issuer.set_down(true);
    issuer.revoke_many(MANY, MANY);
    issuer.set_down(false);
    until("the pieces", || rev(&verifier) == 2 * MANY + 2).await;
    assert_eq!(issuer.inner().snapshots.load(Ordering::SeqCst), snapshots);
    // One that came by itself before counts twice.
    assert!(verifier.status().expect("a state").entries > 2 * MANY as usize);
    assert_eq!(verifier.alarms(), []);
}

#[tokio::test]
async fn a_snapshot_that_lacks_a_piece_or_has_another_is_not_believed() {
    let issuer = crowded().await;
    let builder = || issuer.builder().age_max(Duration::from_secs(5));
    for wrong in [PiecesSent::First(2), PiecesSent::First(0), PiecesSent::Swapped] {
        issuer.send_pieces(wrong);
        assert!(builder().connect().await.is_err(), "knows nothing, and does not say otherwise");
    }
    issuer.send_pieces(PiecesSent::All);
    let verifier = builder().connect().await.expect("a verifier");
    let held = rev(&verifier);
    assert_eq!(held, MANY + 1);

    // One that holds a state goes on with that, while it may: nothing of the counter moves.
    issuer.send_pieces(PiecesSent::First(3));
    issuer.revoke_many(MANY, MANY);
    let signed_at = || verifier.status().expect("a state").signed_at;
    let before = signed_at();
    let asked = || issuer.inner().introduced.lock().expect("not poisoned").len();
    let first = asked();
    until("several attempts", || asked() > first + 1).await;
    assert_eq!((rev(&verifier), signed_at()), (held, before));
    let dead = rejection(&verifier, &issuer.token(&Grant::default())).await;
    assert!(matches!(dead, Some(Rejection::Behind { .. } | Rejection::Stale { .. })), "{dead:?}");
    issuer.send_pieces(PiecesSent::All);
    until("the snapshot", || rev(&verifier) == 2 * MANY + 1).await;
    assert_eq!(verifier.status().expect("a state").entries, 2 * MANY as usize);
}
