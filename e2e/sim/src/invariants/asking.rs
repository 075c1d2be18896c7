//! What a replica may ask for.

use serde_json::Value;

use super::ending::is_late_at;
use super::status::children_first;
use super::{Check, broken};
use crate::wire::Ask;
use crate::world::World;

/// A reconcile makes a call.
pub fn on_ask(world: &mut World, replica: usize, reconcile: u64, ask: &Ask) -> Check {
    let Some(look) = world.replicas[replica].reconcile(reconcile) else { return Ok(()) };
    let (uid, knew_over) = (look.run_uid.clone(), look.knew_over);
    let settled = look
        .run
        .status
        .as_ref()
        .and_then(|status| status.extra_fields.pointer("/plan/claimsSettled"))
        .and_then(Value::as_bool)
        .unwrap_or_default();
    let finished = look.run.status.as_ref().is_some_and(archfan::core::cleanup::is_finished);
    let late =
        world.ledger.runs.get(&uid).is_some_and(|record| {
            !record.edited && is_late_at(&world.plans[record.plan], &look.run, look.began)
        });
    let number = world.replicas[replica].number;
    if ask.writes() && !matches!(ask, Ask::WriteStatus(..)) {
        world.ledger.acted.insert((number, reconcile));
    }
    let record = world.ledger.run(&uid);
    match ask {
        Ask::CreateTaskRun(_) => record.creates_asked += 1,
        Ask::CancelTaskRun(..) => record.cancels_asked += 1,
        Ask::WriteStatus(..) => record.status_asked += 1,
        Ask::Tell(..) | Ask::DeleteTaskRun(..) | Ask::CreateClaim(_) => {}
        _ => record.reads += 1,
    }
    match ask {
        Ask::CreateTaskRun(_) | Ask::CreateClaim(_) if knew_over => broken(
            "nothing_is_made_for_a_run_known_to_be_over",
            format!(
                "replica {number} asks to {} {} although it was shown that the run {uid} is over",
                ask.verb(),
                ask.name()
            ),
        ),
        Ask::CreateTaskRun(_) if late => broken(
            "nothing_is_made_for_a_run_known_to_be_over",
            format!(
                "replica {number} asks to {} {} after the deadline of the run {uid}",
                ask.verb(),
                ask.name()
            ),
        ),
        Ask::WriteStatus(_, status) if archfan::core::cleanup::is_finished(status) => {
            children_first(world, replica, &uid, status)
        }
        Ask::GetClaim(_) | Ask::GetDefinition(_) | Ask::GetPipelineRun(_) | Ask::TektonConfig
            if settled || finished =>
        {
            broken(
                "nothing_is_read_twice",
                format!("replica {number} asks to {} {} for the run {uid}", ask.verb(), ask.name()),
            )
        }
        _ => Ok(()),
    }
}
