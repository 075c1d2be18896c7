//! Leader election by a Lease: of several replicas one works.
//!
//! [`decide`] is the whole rule and is pure; [`Elector`] carries it out. Every write is a replace of the version that was read, so of
//! two candidates one gets a conflict, and never both the Lease. A holder is given up on when its Lease has not changed for as long as
//! the Lease says, by the candidate's own monotonic clock; the clocks of two machines are never compared.
//!
//! Kubernetes cannot fence: a write that is on its way when the Lease is lost may still arrive. Two things answer that. The leader
//! stops believing in itself ([`Leadership`]) well before others may, and breaks off its calls then. And every effect is harmless when
//! it comes late: names are deterministic, a status is written over the version that was read, removals name the uid.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::LeaseSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::api::ApiError;

/// How long the Lease holds and how often it is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// For how long others keep away from a Lease that is not renewed.
    pub lease: Duration,
    /// How long the holder goes on without having renewed. Shorter than `lease`, by more than a call takes.
    pub renew_deadline: Duration,
    /// How often the holder renews, and how often the others look.
    pub retry: Duration,
}

impl Default for Timing {
    /// client-go's defaults (`tools/leaderelection`), but looking twice as often, so that a replica which steps down is followed within
    /// a second.
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry: Duration::from_secs(1),
        }
    }
}

impl Timing {
    /// Says what is wrong with it, if anything is.
    ///
    /// # Errors
    /// Times that do not grow from `retry` over `renew_deadline` to `lease`.
    pub fn check(&self) -> Result<(), String> {
        if self.retry.is_zero() || self.retry >= self.renew_deadline || self.renew_deadline >= self.lease {
            return Err(format!(
                "leader election needs retry < renew deadline < lease, and has {:?}, {:?} and {:?}",
                self.retry, self.renew_deadline, self.lease
            ));
        }
        Ok(())
    }
}

/// What a candidate does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// There is no Lease: make it.
    Create,
    /// It is ours: say that we are still there.
    Renew,
    /// It is free, or its holder is gone: take it.
    Take,
    /// Another holds it: look again after this long.
    Wait(Duration),
}

/// Decides what candidate `me` does about a Lease that has been seen unchanged for as long as `unchanged`.
pub fn decide(lease: Option<&LeaseSpec>, me: &str, unchanged: Duration, timing: &Timing) -> Decision {
    let Some(lease) = lease else { return Decision::Create };
    match lease.holder_identity.as_deref() {
        None | Some("") => Decision::Take,
        Some(holder) if holder == me => Decision::Renew,
        Some(_) => {
            let promised = lease.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
            let promised = promised.map_or(timing.lease, Duration::from_secs);
            match promised.checked_sub(unchanged) {
                None | Some(Duration::ZERO) => Decision::Take,
                Some(left) => Decision::Wait(left.min(timing.retry)),
            }
        }
    }
}

/// The Lease as it becomes when `me` takes it or renews it. `now` is for people to read; nobody decides by it.
pub fn held(
    before: Option<&LeaseSpec>,
    me: &str,
    timing: &Timing,
    now: k8s_openapi::jiff::Timestamp,
) -> LeaseSpec {
    let renewed = before.filter(|lease| lease.holder_identity.as_deref() == Some(me));
    let transitions = before.map_or(0, |lease| {
        lease.lease_transitions.unwrap_or_default().saturating_add(i32::from(renewed.is_none()))
    });
    LeaseSpec {
        holder_identity: Some(me.to_owned()),
        lease_duration_seconds: Some(i32::try_from(timing.lease.as_secs()).unwrap_or(i32::MAX)),
        acquire_time: renewed.and_then(|lease| lease.acquire_time.clone()).or(Some(MicroTime(now))),
        renew_time: Some(MicroTime(now)),
        lease_transitions: Some(transitions),
        ..LeaseSpec::default()
    }
}

/// A Lease with the version by which it is replaced.
#[derive(Clone, Debug, PartialEq)]
pub struct Version {
    /// `metadata.resourceVersion`.
    pub version: String,
    /// What it says.
    pub spec: LeaseSpec,
}

/// Where the Lease is kept.
pub trait Store: Send + Sync {
    /// Reads it.
    fn read(&self) -> impl Future<Output = Result<Option<Version>, ApiError>> + Send;
    /// Makes it, if it is not there.
    fn create(&self, spec: LeaseSpec) -> impl Future<Output = Result<Version, ApiError>> + Send;
    /// Replaces it, if it still has this version.
    fn replace(
        &self,
        version: &str,
        spec: LeaseSpec,
    ) -> impl Future<Output = Result<Version, ApiError>> + Send;
}

/// Whether this replica leads: asked before every effect.
#[derive(Debug)]
pub struct Leadership {
    until: watch::Sender<Until>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Until {
    /// There is no election.
    Always,
    /// Up to this moment, unless renewed.
    Moment(Instant),
    /// Not, or no more.
    No,
}

impl Leadership {
    /// For a controller without others beside it.
    pub fn always() -> Arc<Self> {
        Arc::new(Self { until: watch::Sender::new(Until::Always) })
    }

    /// For one of several replicas: none leads until it is elected.
    pub fn none() -> Arc<Self> {
        Arc::new(Self { until: watch::Sender::new(Until::No) })
    }

    /// Whether this replica leads in this moment.
    pub fn holds(&self) -> bool {
        match *self.until.borrow() {
            Until::Always => true,
            Until::Moment(moment) => Instant::now() < moment,
            Until::No => false,
        }
    }

    /// Resolves as soon as this replica does not lead.
    pub async fn lost(&self) {
        let mut changes = self.until.subscribe();
        loop {
            let until = *changes.borrow_and_update();
            let end = async {
                match until {
                    Until::No => {}
                    Until::Moment(moment) => tokio::time::sleep_until(moment).await,
                    Until::Always => std::future::pending().await,
                }
            };
            tokio::select! {
                () = end => return,
                heard = changes.changed() => if heard.is_err() { return },
            }
        }
    }

    fn set(&self, until: Until) {
        self.until.send_replace(until);
    }
}

/// A candidate.
#[derive(Debug)]
pub struct Elector<S> {
    store: S,
    me: String,
    timing: Timing,
    leadership: Arc<Leadership>,
    /// The Lease as it was last seen, and since when it has been so.
    seen: Option<(Version, Instant)>,
}

impl<S: Store> Elector<S> {
    /// A candidate that calls itself `me`. Two replicas never call themselves the same.
    pub fn new(store: S, me: String, timing: Timing) -> Self {
        Self { store, me, timing, leadership: Leadership::none(), seen: None }
    }

    /// What others ask whether this replica leads.
    pub fn leadership(&self) -> Arc<Leadership> {
        self.leadership.clone()
    }

    /// Resolves once this replica leads. What goes wrong meanwhile is tried again.
    pub async fn acquire(&mut self) {
        loop {
            let wait = match self.attempt().await {
                Ok(None) => {
                    info!(me = %self.me, "this replica leads");
                    return;
                }
                Ok(Some(wait)) => wait,
                Err(ApiError::Conflict(_) | ApiError::AlreadyExists(_)) => {
                    // Another was faster. What it wrote is read next time.
                    self.timing.retry
                }
                Err(error) => {
                    warn!(%error, "the Lease cannot be had; this replica stands by");
                    self.timing.retry
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// Renews until that fails for too long, or another holds the Lease; then says why this replica leads no more.
    pub async fn hold(&mut self) -> String {
        let mut last_error = String::from("the Lease was not renewed in time");
        let leadership = self.leadership.clone();
        loop {
            tokio::select! {
                biased;
                () = leadership.lost() => break,
                () = tokio::time::sleep(self.timing.retry) => {}
            }
            let attempt = tokio::select! {
                biased;
                () = leadership.lost() => break,
                attempt = self.attempt() => attempt,
            };
            match attempt {
                Ok(None) => {}
                Ok(Some(_)) => {
                    let holder = self.seen.as_ref().and_then(|(seen, _)| seen.spec.holder_identity.clone());
                    last_error = format!("{} holds the Lease", holder.unwrap_or_default());
                    break;
                }
                Err(ApiError::Conflict(_)) => {
                    // Somebody has written to it. Whether it still is ours shows when it is read, at once.
                    match self.look().await {
                        Ok(()) if self.is_ours() => {}
                        Ok(()) => {
                            last_error = "the Lease was taken over".to_owned();
                            break;
                        }
                        Err(error) => last_error = error.to_string(),
                    }
                }
                // Whoever deletes it makes room for another, which may hold it already.
                Err(ApiError::NotFound(_)) => {
                    last_error = "the Lease was deleted".to_owned();
                    break;
                }
                Err(error) => {
                    debug!(%error, "the Lease could not be renewed; trying again");
                    last_error = error.to_string();
                }
            }
        }
        self.leadership.set(Until::No);
        last_error
    }

    /// Gives the Lease back, so that another need not wait for its end. Called when nothing is under way any more.
    pub async fn release(&mut self) {
        let ours = self.leadership.holds() && self.is_ours();
        self.leadership.set(Until::No);
        let Some((seen, _)) = self.seen.clone().filter(|_| ours) else { return };
        let spec = LeaseSpec {
            holder_identity: None,
            // A holder that is no more has promised nothing (client-go does the same).
            lease_duration_seconds: Some(1),
            ..seen.spec
        };
        match tokio::time::timeout(self.timing.retry, self.store.replace(&seen.version, spec)).await {
            Ok(Ok(_)) => info!("the Lease is given back"),
            Ok(Err(error)) => warn!(%error, "the Lease could not be given back; it ends by itself"),
            Err(_) => warn!("the Lease could not be given back in time; it ends by itself"),
        }
    }

    /// One try: `None` if this replica holds the Lease now, or how long to wait.
    async fn attempt(&mut self) -> Result<Option<Duration>, ApiError> {
        // The holder knows what it wrote last and need not read it again; a conflict would tell otherwise.
        if !self.is_ours() {
            self.look().await?;
        }
        let unchanged = self.seen.as_ref().map_or(Duration::ZERO, |(_, since)| since.elapsed());
        let lease = self.seen.as_ref().map(|(seen, _)| &seen.spec);
        let decision = decide(lease, &self.me, unchanged, &self.timing);
        if let Decision::Wait(wait) = decision {
            return Ok(Some(wait));
        }
        let asked = Instant::now();
        let spec = held(lease, &self.me, &self.timing, k8s_openapi::jiff::Timestamp::now());
        let written = match (&self.seen, decision) {
            (Some((seen, _)), Decision::Renew | Decision::Take) => {
                self.store.replace(&seen.version, spec).await
            }
            _ => self.store.create(spec).await,
        };
        match written {
            Ok(version) => {
                self.seen = Some((version, asked));
                // Counted from before the call: the server may have taken it at once and answered late.
                self.leadership.set(Until::Moment(asked + self.timing.renew_deadline));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Reads the Lease, and notes since when it has been as it is.
    async fn look(&mut self) -> Result<(), ApiError> {
        let read = self.store.read().await?;
        let now = Instant::now();
        self.seen = match (read, self.seen.take()) {
            (None, _) => None,
            (Some(read), Some((seen, since))) if read == seen => Some((seen, since)),
            (Some(read), _) => Some((read, now)),
        };
        Ok(())
    }

    fn is_ours(&self) -> bool {
        self.seen
            .as_ref()
            .is_some_and(|(seen, _)| seen.spec.holder_identity.as_deref() == Some(self.me.as_str()))
    }
}

#[cfg(test)]
mod tests;
