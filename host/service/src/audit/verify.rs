//! Verifying the audit log: every row against its MAC, every place against the one before
//! it, the end against the head, and all of it against what was signed.

use std::{collections::HashMap, time::Duration};

use purlin_domain::{Timestamp, id::TenantId, principal::Principal};
use purlin_store::{
    TenantTx,
    audit_chain::{self, Head},
};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::time::sleep;

use super::{
    chain::{chain_tenant, read, sign_end},
    hashes, macs,
};
use crate::{Platform, Result, ServiceError};

const PAGE: u32 = 1_000;
/// How often it is seen to that every row has its place, and how long is waited in between.
const CHAIN_TRIES: u32 = 20;
const CHAIN_PAUSE: Duration = Duration::from_millis(100);
/// Findings told at most.
const TOLD_MAX: usize = 100;

/// What verifying found.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Verification {
    /// Whether nothing was changed, deleted, added or reordered.
    pub intact: bool,
    /// Rows that were looked at.
    pub rows: u64,
    /// The first place that is kept; what came before was deleted when its time was over.
    pub first_seq: i64,
    /// The last place.
    pub last_seq: i64,
    /// The hash there.
    pub last_hash: String,
    /// Signed checkpoints that agree with the chain.
    pub checkpoints: u64,
    /// Rows too new to have a place.
    pub unchained: u64,
    /// What is wrong, the first hundred of it.
    pub findings: Vec<Finding>,
    /// When it was looked at.
    pub verified_at: Timestamp,
}

/// One thing that is wrong with the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Finding {
    /// Where in the chain.
    pub seq: i64,
    /// `edited` (the row is not what was written), `missing` (rows are gone), `moved` (the
    /// chain breaks here), `cut` (rows are gone at the end), `added` (rows are not on the
    /// chain) or `checkpoint` (it is not what was signed).
    pub code: &'static str,
    /// In words.
    pub detail: String,
}

struct Walk {
    seq: i64,
    hash: String,
    rows: u64,
    checkpoints: u64,
    findings: Vec<Finding>,
    signed: HashMap<i64, String>,
    /// The place and the hash that are kept apart from the database.
    kept: Option<(i64, String)>,
}

impl Walk {
    fn found(&mut self, seq: i64, code: &'static str, detail: impl Into<String>) {
        if self.findings.len() < TOLD_MAX {
            self.findings.push(Finding { seq, code, detail: detail.into() });
        }
    }
}

/// Give every row its place. Whoever else is at it at this moment is waited for a little: where
/// rows are added all the time, some are left.
async fn chain_all(platform: &Platform, tenant: TenantId) -> Result<()> {
    for _ in 0..CHAIN_TRIES {
        chain_tenant(platform, tenant).await?;
        if audit_chain::count_unchained(&mut platform.db.read(tenant).await?).await? == 0 {
            break;
        }
        sleep(CHAIN_PAUSE).await;
    }
    Ok(())
}

/// Verify the tenant's audit log from the first row that is kept to the last.
pub async fn verify(platform: &Platform, principal: &Principal) -> Result<Verification> {
    let Some(_turn) = platform.verifying.try_take(&principal.tenant) else {
        return Err(ServiceError::Unavailable("the log is being verified at this moment; try again".to_owned()));
    };
    let chained = match chain_all(platform, principal.tenant).await {
        Err(ServiceError::Internal(why)) => Err(why),
        done => Ok(done?),
    };
    let mut tx = platform.db.read(principal.tenant).await?;
    let mut walk = begin(platform, &mut tx).await?;
    if let Err(why) = chained {
        walk.found(0, "cut", why);
    }
    let first_seq = walk.seq + 1;
    // The head first: what is added while this runs lies beyond it.
    let head = audit_chain::head(&mut tx).await?.unwrap_or(Head { seq: 0, hash: String::new() });
    signed(platform, &mut tx, &mut walk, first_seq).await?;
    let newest_signed = walk.signed.keys().copied().max().unwrap_or(0);
    let newest_kept = kept_apart(platform, &tx, &mut walk)?;
    if newest_kept == 0 && (newest_signed > 0 || first_seq > 1) {
        walk.found(0, "checkpoint", "the log was signed, and no checkpoint of it is kept apart from the database");
    }
    walk_rows(platform, &mut tx, &mut walk, head.seq).await?;
    let ends = [
        ("the chain's head", head.seq),
        ("a signed checkpoint", newest_signed),
        ("the checkpoint kept apart from the database", newest_kept),
    ];
    for (what, seq) in ends {
        if walk.seq < seq {
            let (at, detail) = (walk.seq + 1, format!("the log ends at {}, but {what} says {seq}", walk.seq));
            walk.found(at, "cut", detail);
        }
    }
    if walk.seq == head.seq && walk.hash != head.hash {
        walk.found(head.seq, "moved", "the last row is not the one that the chain's head names");
    }
    let outside = audit_chain::count_outside(&mut tx, first_seq).await?;
    if outside > 0 {
        walk.found(0, "added", format!("{outside} rows claim places that the chain does not have"));
    }
    drop(tx);
    if walk.findings.is_empty() && walk.seq > 0 && newest_kept < walk.seq {
        sign_end(platform, principal.tenant, &Head { seq: walk.seq, hash: walk.hash.clone() }).await?;
    }
    let mut tx = platform.db.read(principal.tenant).await?;
    let unchained = audit_chain::count_unchained(&mut tx).await?;
    Ok(Verification {
        intact: walk.findings.is_empty(),
        rows: walk.rows,
        first_seq,
        last_seq: walk.seq,
        last_hash: walk.hash,
        checkpoints: walk.checkpoints,
        unchained: u64::try_from(unchained).unwrap_or(0),
        findings: walk.findings,
        verified_at: platform.now(),
    })
}

/// Where the chain begins: at its first row, or after the last signed cut.
async fn begin(platform: &Platform, tx: &mut TenantTx) -> Result<Walk> {
    let mut walk = Walk {
        seq: 0,
        hash: String::new(),
        rows: 0,
        checkpoints: 0,
        findings: Vec::new(),
        signed: HashMap::new(),
        kept: None,
    };
    if let Some(cut) = audit_chain::last_cut(tx).await? {
        match read(platform, &cut.token) {
            Some(claims)
                if claims.tenant == tx.tenant().0 && claims.cut && claims.seq == cut.seq && claims.hash == cut.hash =>
            {
                (walk.seq, walk.hash) = (cut.seq, cut.hash);
            }
            _ => walk.found(cut.seq, "checkpoint", "a cut is not what was signed"),
        }
    }
    Ok(walk)
}

/// Every checkpoint from there on, its signature verified.
async fn signed(platform: &Platform, tx: &mut TenantTx, walk: &mut Walk, first_seq: i64) -> Result<()> {
    let mut after = first_seq - 1;
    loop {
        let page = audit_chain::checkpoints(tx, after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = last.seq;
        for checkpoint in page.into_iter().filter(|c| !c.is_cut) {
            match read(platform, &checkpoint.token) {
                Some(claims)
                    if claims.tenant == tx.tenant().0
                        && !claims.cut
                        && claims.seq == checkpoint.seq
                        && claims.hash == checkpoint.hash =>
                {
                    walk.signed.insert(checkpoint.seq, checkpoint.hash);
                }
                _ => walk.found(checkpoint.seq, "checkpoint", "a checkpoint is not what was signed"),
            }
        }
    }
}

/// The checkpoint that is kept apart from the database: it must be on the chain.
fn kept_apart(platform: &Platform, tx: &TenantTx, walk: &mut Walk) -> Result<i64> {
    let kept = platform.checkpoints.newest(tx.tenant()).map_err(ServiceError::internal)?;
    let Some(token) = kept else { return Ok(0) };
    match read(platform, &token) {
        Some(claims) if claims.tenant == tx.tenant().0 => {
            let at = claims.seq;
            if at > walk.seq {
                walk.kept = Some((at, claims.hash));
            }
            Ok(at)
        }
        _ => {
            walk.found(0, "checkpoint", "the checkpoint kept apart from the database is not what was signed");
            Ok(0)
        }
    }
}

async fn walk_rows(platform: &Platform, tx: &mut TenantTx, walk: &mut Walk, until: i64) -> Result<()> {
    loop {
        let page = audit_chain::links(tx, walk.seq, PAGE).await?;
        let full = page.len() == PAGE as usize;
        for found in page {
            let Some(seq) = found.seq.filter(|seq| *seq <= until) else { return Ok(()) };
            walk.rows += 1;
            if seq != walk.seq + 1 {
                let (at, detail) = (walk.seq + 1, format!("the log goes from {} to {seq}", walk.seq));
                walk.found(at, if seq <= walk.seq { "moved" } else { "missing" }, detail);
            }
            let mut good = macs(platform, tx.tenant(), &found.row);
            let is_good = found.mac.as_ref().is_some_and(|mac| good.contains(mac));
            if !is_good {
                walk.found(seq, "edited", format!("row {} is not what was written", found.row.id));
            }
            let written = found.mac.filter(|_| is_good).unwrap_or_else(|| good.swap_remove(0));
            let mut hashes = hashes(platform, tx.tenant(), &walk.hash, seq, &written);
            if found.hash.as_ref().is_none_or(|hash| !hashes.contains(hash)) {
                walk.found(seq, "moved", format!("row {} does not follow the one before it", found.row.id));
            }
            if let Some(signed) = walk.signed.remove(&seq) {
                if Some(&signed) == found.hash.as_ref() {
                    walk.checkpoints += 1;
                } else {
                    walk.found(seq, "checkpoint", "this row is not the one that was signed");
                }
            }
            if walk.kept.as_ref().is_some_and(|(at, kept)| *at == seq && Some(kept) != found.hash.as_ref()) {
                walk.found(
                    seq,
                    "checkpoint",
                    "this row is not the one whose checkpoint is kept apart from the database",
                );
            }
            // One break is told once: the walk goes on from what is there.
            (walk.seq, walk.hash) = (seq, found.hash.unwrap_or_else(|| hashes.swap_remove(0)));
        }
        if !full {
            return Ok(());
        }
    }
}
