//! The spans of a run that has ended: the run, each platform, and what each of its tasks did: waiting for a node, starting, building.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use ring::digest::{SHA256, digest};
use serde::Deserialize as _;
use serde_json::Value;

use crate::api::names::label;
use crate::api::status::{ExtraFields, Phase, PlatformStatus, TaskStatus};
use crate::api::tekton::{Condition, CustomRun, CustomRunStatus};
use crate::core::inherit;
use crate::obs::transitions::PodTimes;

/// Something that took its time.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Span {
    /// The trace that it is in.
    pub(super) trace: [u8; 16],
    /// Its own id.
    pub(super) id: [u8; 8],
    /// The span beneath which it stands.
    pub(super) parent: Option<[u8; 8]>,
    /// What vendors say of the trace, handed on as it came.
    pub(super) state: String,
    /// What it is; not which one.
    pub(super) name: String,
    /// When it began.
    pub(super) begin: Timestamp,
    /// When it ended.
    pub(super) end: Timestamp,
    /// Why it failed, if it did.
    pub(super) error: Option<String>,
    /// What there is to say of it.
    pub(super) attributes: Vec<(&'static str, Attribute)>,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Attribute {
    /// A text.
    Text(String),
    /// A list of texts.
    Texts(Vec<String>),
    /// A number.
    Number(i64),
}

/// A place in a trace (W3C Trace Context).
#[derive(Clone, Debug, PartialEq)]
struct Place {
    trace: [u8; 16],
    parent: Option<[u8; 8]>,
    state: String,
}

/// The spans of a run that has ended between the two versions; none if it has not, or if whoever began the trace does not record it.
pub(super) fn of_end(
    before: &CustomRun,
    after: &CustomRun,
    pod: impl Fn(&str) -> Option<PodTimes>,
) -> Vec<Span> {
    let nothing = CustomRunStatus::default();
    let old = before.status.as_ref().unwrap_or(&nothing);
    let Some(new) = after.status.as_ref().filter(|new| new.completion_time.is_some()) else {
        return Vec::new();
    };
    let (Some(begin), Some(end)) = (time(new.start_time.as_ref()), time(new.completion_time.as_ref())) else {
        return Vec::new();
    };
    if old.completion_time.is_some() {
        return Vec::new();
    }
    let read = |status: &CustomRunStatus| ExtraFields::deserialize(&status.extra_fields).unwrap_or_default();
    let extra = whole(read(old), read(new), new.extra_fields.is_null());
    let context = extra
        .plan
        .as_ref()
        .and_then(|plan| plan.span_context.clone())
        .or_else(|| inherit::span_context(after, None));
    let uid = after.metadata.uid.as_deref().unwrap_or_default();
    let Some(place) = place(context.as_deref(), uid) else { return Vec::new() };
    let run = of_run(after, new, &extra, &place, (begin, end));
    let below = |parent: [u8; 8]| Below { uid, place: &place, parent, end };
    let mut all = Vec::new();
    for platform in &extra.platforms {
        of_platform(&mut all, &below(run.id), platform, &pod);
    }
    if let Some(index) = &extra.index {
        let span =
            below(run.id).span("index", "index", index.start_time.as_ref(), index.completion_time.as_ref());
        all.extend(span.map(|mut span| {
            span.attributes.push(("archfan.task_run", text(&index.task_run)));
            judged(span, index.phase, &index.reason, &index.message)
        }));
    }
    all.insert(0, run);
    all
}

/// What a run's last status tells, with what the one before told of the tasks where the last leaves them out: the API server refuses a status
/// that is too large, and then goes without its tasks, or without anything.
fn whole(was: ExtraFields, mut is: ExtraFields, nothing: bool) -> ExtraFields {
    if nothing {
        return was;
    }
    for before in was.platforms {
        let same = is.platforms.iter_mut().find(|platform| platform.platform == before.platform);
        if let Some(platform) = same.filter(|platform| platform.tasks.is_empty()) {
            platform.tasks = before.tasks;
        }
    }
    is
}

fn of_run(
    run: &CustomRun,
    status: &CustomRunStatus,
    extra: &ExtraFields,
    place: &Place,
    (begin, end): (Timestamp, Timestamp),
) -> Span {
    let meta = &run.metadata;
    let uid = meta.uid.as_deref().unwrap_or_default();
    let pipeline_run = meta.labels.as_ref().and_then(|labels| labels.get(label::PIPELINE_RUN));
    let condition = Condition::succeeded(&status.conditions);
    let (result, reason) = match condition.map(|one| (one.status.as_str(), one.reason.as_str())) {
        Some(("True", reason)) => ("succeeded", reason),
        Some((_, reason @ "CustomRunCancelled")) => ("cancelled", reason),
        Some((_, reason)) => ("failed", reason),
        None => ("failed", ""),
    };
    let failed = (result == "failed").then(|| condition.map(|one| one.message.clone()).unwrap_or_default());
    let platforms = extra.platforms.iter().map(|platform| platform.platform.clone()).collect();
    let mut attributes = vec![
        ("k8s.namespace.name", text(meta.namespace.as_deref().unwrap_or_default())),
        ("archfan.run", text(meta.name.as_deref().unwrap_or_default())),
        ("archfan.run.uid", text(uid)),
        ("archfan.platforms", Attribute::Texts(platforms)),
        ("archfan.result", text(result)),
        ("archfan.reason", text(reason)),
    ];
    attributes.extend(pipeline_run.map(|name| ("archfan.pipeline_run", text(name))));
    attributes.extend(failed.is_some().then(|| ("error.type", text(reason))));
    let (trace, state) = (place.trace, place.state.clone());
    let name = "MultiArchBuild".to_owned();
    Span {
        trace,
        id: id(uid, "run"),
        parent: place.parent,
        state,
        name,
        begin,
        end,
        error: failed,
        attributes,
    }
}

fn of_platform(
    all: &mut Vec<Span>,
    below: &Below<'_>,
    platform: &PlatformStatus,
    pod: &impl Fn(&str) -> Option<PodTimes>,
) {
    let what = format!("platform/{}", platform.platform);
    let (from, to) = (platform.start_time.as_ref(), platform.completion_time.as_ref());
    // A platform that never had a TaskRun took no time: the run says why.
    let Some(mut span) = below.span("platform", &what, from, to) else { return };
    span.attributes.push(("archfan.platform", text(&platform.platform)));
    if !platform.node.is_empty() {
        span.attributes.push(("k8s.node.name", text(&platform.node)));
    }
    let inner = Below { parent: span.id, ..*below };
    all.push(judged(span, platform.phase, &platform.reason, &platform.message));
    for task in platform.tasks.iter().filter(|task| task.reused.is_empty() && !task.task_run.is_empty()) {
        let end = time(task.completion_time.as_ref());
        let times = pod(&task.task_run).unwrap_or_default();
        let steps = [
            ("waiting", times.made.or_else(|| time(task.start_time.as_ref())), times.scheduled.or(end)),
            ("starting", times.scheduled, times.started.or(end)),
            ("building", times.started, end),
        ];
        for (name, from, to) in steps {
            let what = format!("{what}/{}/{name}", task.name);
            let (from, to) = (from.map(Time), to.map(Time));
            let Some(mut span) = inner.span(name, &what, from.as_ref(), to.as_ref()) else { continue };
            span.attributes.extend([
                ("archfan.platform", text(&platform.platform)),
                ("archfan.task", text(&task.name)),
                ("archfan.task_run", text(&task.task_run)),
            ]);
            all.push(if name == "building" { built(span, task) } else { span });
        }
    }
}

fn built(mut span: Span, task: &TaskStatus) -> Span {
    span.attributes.push((
        "archfan.failed_attempts",
        Attribute::Number(i64::try_from(task.failed_attempts).unwrap_or(i64::MAX)),
    ));
    judged(span, task.phase, &task.reason, &task.message)
}

/// Adds how it ended.
fn judged(mut span: Span, phase: Phase, reason: &str, message: &str) -> Span {
    span.attributes.push(("archfan.result", text(&phase.as_str().to_ascii_lowercase())));
    if phase == Phase::Failed {
        span.attributes.push(("error.type", text(if reason.is_empty() { "Failed" } else { reason })));
        span.error = Some(message.to_owned());
    }
    span
}

/// Where spans of parts of a run stand.
#[derive(Clone, Copy)]
struct Below<'a> {
    uid: &'a str,
    place: &'a Place,
    parent: [u8; 8],
    /// When the run ended: what had no end of its own ended then.
    end: Timestamp,
}

impl Below<'_> {
    fn span(&self, name: &str, what: &str, from: Option<&Time>, to: Option<&Time>) -> Option<Span> {
        let begin = time(from)?;
        Some(Span {
            trace: self.place.trace,
            id: id(self.uid, what),
            parent: Some(self.parent),
            state: self.place.state.clone(),
            name: name.to_owned(),
            begin,
            // Clocks of machines differ: what would have ended before it began was short.
            end: time(to).unwrap_or(self.end).max(begin),
            error: None,
            attributes: Vec::new(),
        })
    }
}

/// Where the run's span stands, from the JSON carrier that Tekton uses; a trace of its own if there is none. Nothing if the trace is
/// one that is not recorded.
fn place(carrier: Option<&str>, uid: &str) -> Option<Place> {
    let carrier: Option<Value> = carrier.and_then(|carrier| serde_json::from_str(carrier).ok());
    let of = |key: &str| carrier.as_ref().and_then(|carrier| carrier.get(key)).and_then(Value::as_str);
    let Some((trace, parent, sampled)) = of("traceparent").and_then(trace_parent) else {
        let mut trace = [0; 16];
        trace.copy_from_slice(&digest(&SHA256, format!("archfan trace/{uid}").as_bytes()).as_ref()[..16]);
        return Some(Place { trace, parent: None, state: String::new() });
    };
    let state = of("tracestate").unwrap_or_default().to_owned();
    sampled.then_some(Place { trace, parent: Some(parent), state })
}

/// Trace, span, and whether it is recorded, from a `traceparent` (W3C Trace Context, 3.2).
fn trace_parent(text: &str) -> Option<([u8; 16], [u8; 8], bool)> {
    let mut parts = text.trim().split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let [version] = bytes::<1>(version)?;
    // Later versions may have further parts.
    if version == 0xff || (version == 0 && parts.next().is_some()) {
        return None;
    }
    let (trace, span, [flags]) = (bytes::<16>(trace)?, bytes::<8>(span)?, bytes::<1>(flags)?);
    (trace != [0; 16] && span != [0; 8]).then_some((trace, span, flags & 1 == 1))
}

/// Bytes from hexadecimal digits, which the standard wants in lower case.
fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    if digits.len() != 2 * N {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = (value(pair[0])? << 4) | value(pair[1])?;
    }
    Some(bytes)
}

/// The id of a span, which follows from the run and what of it the span is.
fn id(uid: &str, what: &str) -> [u8; 8] {
    let mut id = [0; 8];
    id.copy_from_slice(&digest(&SHA256, format!("archfan span/{uid}/{what}").as_bytes()).as_ref()[..8]);
    // Zero means none; one digest in 2^64 is.
    if id == [0; 8] { [1; 8] } else { id }
}

fn text(text: &str) -> Attribute {
    Attribute::Text(text.to_owned())
}

fn time(time: Option<&Time>) -> Option<Timestamp> {
    time.map(|Time(time)| *time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_goes_on_if_it_is_recorded_and_begins_if_there_is_none() {
        let of =
            |parent: &str| place(Some(&format!(r#"{{"traceparent":"{parent}","tracestate":"a=b"}}"#)), "uid");
        let whole = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let found = of(whole).unwrap();
        assert_eq!((found.trace[0], found.parent.unwrap()[7], found.state.as_str()), (0x0a, 0x31, "a=b"));
        assert_eq!(of(&whole.replace("-01", "-00")), None, "not recorded");
        let own = place(None, "uid").unwrap();
        assert_eq!((own.parent, own.trace), (None, place(None, "uid").unwrap().trace));
        assert_ne!(own.trace, place(None, "another").unwrap().trace);
        for broken in [
            "",
            "x",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319é-b7ad6b7169203331-01",
        ] {
            assert_eq!(of(broken).unwrap().parent, None, "{broken}");
        }
        assert!(of("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more").unwrap().parent.is_some());
        assert_eq!(place(Some("no JSON"), "uid").unwrap().parent, None);
    }
}
