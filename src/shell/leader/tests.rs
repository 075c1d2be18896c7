use std::sync::Mutex;

use tokio::time::{advance, sleep, timeout};

use super::*;

const TIMING: Timing = Timing {
    lease: Duration::from_secs(15),
    renew_deadline: Duration::from_secs(10),
    retry: Duration::from_secs(1),
};

fn lease(holder: &str, seconds: i32) -> LeaseSpec {
    LeaseSpec {
        holder_identity: (!holder.is_empty()).then(|| holder.to_owned()),
        lease_duration_seconds: Some(seconds),
        lease_transitions: Some(3),
        ..LeaseSpec::default()
    }
}

#[test]
fn the_rule() {
    let secs = Duration::from_secs;
    let cases = [
        (None, 0, Decision::Create),
        (Some(lease("", 15)), 0, Decision::Take),
        (Some(lease("me", 15)), 100, Decision::Renew),
        (Some(lease("other", 15)), 0, Decision::Wait(secs(1))),
        (Some(lease("other", 15)), 14, Decision::Wait(secs(1))),
        (Some(lease("other", 15)), 15, Decision::Take),
        (Some(lease("other", 15)), 100, Decision::Take),
        // What counts is what its holder has promised, not what we would have.
        (Some(lease("other", 60)), 20, Decision::Wait(secs(1))),
        // Nonsense is read as our own duration.
        (Some(lease("other", -1)), 14, Decision::Wait(secs(1))),
        (Some(lease("other", -1)), 15, Decision::Take),
    ];
    for (lease, unchanged, wanted) in cases {
        assert_eq!(
            decide(lease.as_ref(), "me", secs(unchanged), &TIMING),
            wanted,
            "{lease:?} after {unchanged}"
        );
    }
    // Nobody sleeps past the moment at which the Lease may be taken.
    let almost = Duration::from_millis(14_700);
    assert_eq!(
        decide(Some(&lease("other", 15)), "me", almost, &TIMING),
        Decision::Wait(Duration::from_millis(300))
    );
}

#[test]
fn a_take_over_is_counted_and_a_renewal_is_not() {
    let now: k8s_openapi::jiff::Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let later: k8s_openapi::jiff::Timestamp = "2026-01-01T00:00:05Z".parse().unwrap();
    let taken = held(Some(&lease("other", 15)), "me", &TIMING, now);
    assert_eq!(taken.lease_transitions, Some(4));
    assert_eq!(taken.acquire_time, Some(MicroTime(now)));
    let renewed = held(Some(&taken), "me", &TIMING, later);
    assert_eq!(renewed.lease_transitions, Some(4));
    assert_eq!(renewed.acquire_time, Some(MicroTime(now)));
    assert_eq!(renewed.renew_time, Some(MicroTime(later)));
    assert_eq!(held(None, "me", &TIMING, now).lease_transitions, Some(0));
}

#[test]
fn times_must_grow() {
    Timing::default().check().unwrap();
    let wrong = Timing { renew_deadline: Duration::from_secs(15), ..TIMING };
    assert!(wrong.check().unwrap_err().contains("renew deadline < lease"));
}

/// One Lease for all candidates, with the API server's rules, and with faults.
#[derive(Clone, Debug, Default)]
struct Server(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    lease: Option<Version>,
    version: u64,
    down: bool,
    /// Calls are taken and not answered.
    mute: bool,
    writes: usize,
}

impl Server {
    async fn with<T>(&self, f: impl FnOnce(&mut State) -> Result<T, ApiError>) -> Result<T, ApiError> {
        sleep(Duration::from_millis(5)).await;
        let (answer, mute) = {
            let mut state = self.0.lock().unwrap();
            let mute = state.mute;
            let answer = if state.down { Err(ApiError::Unavailable("down".into())) } else { f(&mut state) };
            (answer, mute)
        };
        if mute {
            std::future::pending::<()>().await;
        }
        answer
    }

    fn set(&self, f: impl FnOnce(&mut State)) {
        f(&mut self.0.lock().unwrap());
    }

    fn holder(&self) -> Option<String> {
        self.0.lock().unwrap().lease.as_ref()?.spec.holder_identity.clone()
    }
}

impl State {
    fn write(&mut self, spec: LeaseSpec) -> Version {
        self.version += 1;
        self.writes += 1;
        let lease = Version { version: self.version.to_string(), spec };
        self.lease = Some(lease.clone());
        lease
    }
}

impl Store for Server {
    async fn read(&self) -> Result<Option<Version>, ApiError> {
        self.with(|state| Ok(state.lease.clone())).await
    }

    async fn create(&self, spec: LeaseSpec) -> Result<Version, ApiError> {
        self.with(|state| match &state.lease {
            Some(_) => Err(ApiError::AlreadyExists("there".into())),
            None => Ok(state.write(spec)),
        })
        .await
    }

    async fn replace(&self, version: &str, spec: LeaseSpec) -> Result<Version, ApiError> {
        self.with(|state| match &state.lease {
            None => Err(ApiError::NotFound("gone".into())),
            Some(there) if there.version != version => Err(ApiError::Conflict("changed".into())),
            Some(_) => Ok(state.write(spec)),
        })
        .await
    }
}

fn candidate(server: &Server, me: &str) -> Elector<Server> {
    Elector::new(server.clone(), me.to_owned(), TIMING)
}

async fn within<T>(seconds: u64, what: &str, future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(seconds), future)
        .await
        .unwrap_or_else(|_| panic!("not within {seconds} s: {what}"))
}

#[tokio::test(start_paused = true)]
async fn one_leads_and_the_other_follows_when_it_is_killed() {
    let server = Server::default();
    let (mut a, mut b) = (candidate(&server, "a"), candidate(&server, "b"));
    within(1, "the first to ask leads", a.acquire()).await;
    let leads = a.leadership();
    let other = b.leadership();
    assert!(leads.holds() && !other.holds());
    let holding = tokio::spawn(async move { a.hold().await });
    let waiting = tokio::spawn(async move {
        b.acquire().await;
        b
    });
    sleep(Duration::from_mins(2)).await;
    assert!(leads.holds() && !other.holds() && !waiting.is_finished(), "a renews, b waits");
    // Killed: no word, no release.
    holding.abort();
    let killed = Instant::now();
    within(20, "b takes over", waiting).await.unwrap();
    assert!(killed.elapsed() <= Duration::from_secs(17), "{:?}", killed.elapsed());
    assert!(killed.elapsed() >= Duration::from_secs(13), "not while a might still believe in itself");
    assert!(other.holds() && !leads.holds());
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_goes_is_followed_at_once() {
    let server = Server::default();
    let mut a = candidate(&server, "a");
    a.acquire().await;
    let mut b = candidate(&server, "b");
    let waiting = tokio::spawn(async move { b.acquire().await });
    sleep(Duration::from_secs(3)).await;
    a.release().await;
    assert!(!a.leadership().holds());
    let released = Instant::now();
    within(2, "b takes the free Lease", waiting).await.unwrap();
    assert!(released.elapsed() <= Duration::from_secs(2));
    assert_eq!(server.holder().as_deref(), Some("b"));
}

#[tokio::test(start_paused = true)]
async fn who_cannot_renew_stops_before_another_may_begin() {
    let server = Server::default();
    let mut a = candidate(&server, "a");
    a.acquire().await;
    let leads = a.leadership();
    let holding = tokio::spawn(async move { a.hold().await });
    sleep(Duration::from_secs(5)).await;
    server.set(|state| state.down = true);
    let down = Instant::now();
    let why = within(11, "a gives up", holding).await.unwrap();
    assert_eq!(why, "down");
    assert!(!leads.holds());
    assert!(down.elapsed() >= Duration::from_secs(8), "a blip is no reason to give up: {:?}", down.elapsed());
    assert!(down.elapsed() < TIMING.lease, "others wait for {:?}", TIMING.lease);
}

#[tokio::test(start_paused = true)]
async fn a_call_without_an_answer_does_not_hold_up_the_end() {
    let server = Server::default();
    let mut a = candidate(&server, "a");
    a.acquire().await;
    let leads = a.leadership();
    server.set(|state| state.mute = true);
    within(11, "a gives up", a.hold()).await;
    assert!(!leads.holds());
}

#[tokio::test(start_paused = true)]
async fn a_blip_is_survived() {
    let server = Server::default();
    let mut a = candidate(&server, "a");
    a.acquire().await;
    let leads = a.leadership();
    let holding = tokio::spawn(async move { a.hold().await });
    for _ in 0..5 {
        server.set(|state| state.down = true);
        sleep(Duration::from_secs(7)).await;
        server.set(|state| state.down = false);
        sleep(Duration::from_secs(3)).await;
        assert!(leads.holds() && !holding.is_finished());
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_robbed_or_whose_lease_is_deleted_stops_at_once() {
    for deleted in [false, true] {
        let server = Server::default();
        let mut a = candidate(&server, "a");
        a.acquire().await;
        let leads = a.leadership();
        let holding = tokio::spawn(async move { a.hold().await });
        sleep(Duration::from_secs(3)).await;
        server.set(|state| {
            if deleted {
                state.lease = None;
            } else {
                state.write(lease("thief", 15));
            }
        });
        let why = within(2, "a stops", holding).await.unwrap();
        assert!(why.contains(if deleted { "deleted" } else { "taken over" }), "{why}");
        assert!(!leads.holds());
        assert_ne!(server.holder().as_deref(), Some("a"), "and does not take it back");
    }
}

#[tokio::test(start_paused = true)]
async fn an_annotation_on_the_lease_does_no_harm() {
    let server = Server::default();
    let mut a = candidate(&server, "a");
    a.acquire().await;
    let leads = a.leadership();
    let holding = tokio::spawn(async move { a.hold().await });
    sleep(Duration::from_secs(3)).await;
    server.set(|state| {
        let spec = state.lease.clone().unwrap().spec;
        state.write(spec);
    });
    sleep(Duration::from_mins(1)).await;
    assert!(leads.holds() && !holding.is_finished());
}

#[tokio::test(start_paused = true)]
async fn of_many_candidates_never_two_lead() {
    let server = Server::default();
    let leaders: Vec<Arc<Leadership>> = (0..5)
        .map(|number| {
            let mut candidate = candidate(&server, &format!("c{number}"));
            let leadership = candidate.leadership();
            tokio::spawn(async move {
                // A replica that has lost is started anew by the kubelet.
                loop {
                    candidate.acquire().await;
                    candidate.hold().await;
                    sleep(Duration::from_millis(700)).await;
                    candidate.seen = None;
                }
            });
            leadership
        })
        .collect();
    let mut led = 0_u32;
    for step in 0..6000_u32 {
        // The server goes away for all, now and then, for different spans.
        let span = step % 600;
        server.set(|state| state.down = span > 100 && span < 100 + step / 10);
        advance(Duration::from_millis(97)).await;
        tokio::task::yield_now().await;
        let now = leaders.iter().filter(|leadership| leadership.holds()).count();
        assert!(now <= 1, "{now} lead at step {step}");
        led += u32::try_from(now).unwrap();
    }
    assert!(led > 2000, "most of the time somebody leads: {led} of 6000");
}
