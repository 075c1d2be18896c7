//! What comes from outside: crashes, take-overs, watches that break, nodes that come and go.

use archfan::core::observed::PodNote;
use archfan::shell::api::Key;

use super::setup::{ARCHES, node};
use super::{Part, World};
use crate::coverage::Point;
use crate::replica::{Duty, Kind};
use crate::server::{Happened, NAMESPACE};
use crate::tape::Channel;
use crate::wire::Progress;

impl World {
    /// One disturbance.
    pub(super) fn disturb(&mut self) {
        self.steps += 1;
        let kinds = self.knobs.kinds.map(|weight| ((), weight));
        match self.tape.on(Channel::Disturb).weighted(&kinds) {
            0 => self.crash(),
            1 => self.take_over(),
            2 => self.disturb_watches(),
            3 => self.disturb_as_user(),
            4 => self.disturb_pipeline(),
            _ => self.disturb_cluster(),
        }
    }

    /// What users do to runs that are over.
    pub(super) fn disturb_afterwards(&mut self) {
        self.steps += 1;
        match self.tape.on(Channel::Disturb).weighted(&[((), 5), ((), 2), ((), 1), ((), 2)]) {
            0 => self.disturb_as_user(),
            1 => self.disturb_pipeline(),
            2 => self.disturb_cluster(),
            _ => self.crash(),
        }
        self.after_step();
    }

    /// The place of the replica that leads.
    fn leader(&self) -> Option<usize> {
        self.replicas.iter().position(|replica| replica.duty == Duty::Leads)
    }

    /// The replica that leads is gone from one moment to the next, and another begins with nothing.
    fn crash(&mut self) {
        let Some(index) = self.leader() else { return };
        let number = self.replicas[index].number;
        self.coverage.meet(Point::Crashed);
        if !self.replicas[index].reconciles.is_empty() {
            self.coverage.meet(Point::CrashedInCall);
        }
        self.say(|| format!("replica {number} crashes"));
        self.remove_replica(index);
        self.new_replica();
    }

    /// Another replica takes over, and the one that led does not know it yet.
    fn take_over(&mut self) {
        let Some(index) = self.leader() else { return };
        if self.replicas.len() > 2 {
            return;
        }
        let number = self.replicas[index].number;
        self.coverage.meet(Point::TookOver);
        self.ledger.overlap = true;
        self.ledger.troubles += 1;
        self.replicas[index].duty = Duty::Unaware;
        self.new_replica();
        let warm = self.tape.on(Channel::Disturb).permille(600);
        self.say(|| format!("another replica takes over from replica {number} (warm: {warm})"));
        if warm {
            self.warm_up();
        }
    }

    /// A standby has listed long ago and followed its watches, some further than others.
    fn warm_up(&mut self) {
        let Some(mut replica) = self.replicas.pop() else { return };
        self.coverage.meet(Point::TookOverWarm);
        for kind in Kind::ALL {
            replica.follow_from_the_start(kind);
            let most = replica.behind(kind, &self.server);
            let behind =
                self.tape.on(Channel::Disturb).below(u32::try_from(most.min(6)).unwrap_or(0) + 1) as usize;
            for _ in behind..most {
                replica.bring(kind, &self.server, self.steps, false);
            }
        }
        replica.lead(self.server.now);
        self.replicas.push(replica);
    }

    /// A replica that led finds out that another does, and stops.
    pub(super) fn notice(&mut self, index: usize) {
        let number = self.replicas[index].number;
        self.say(|| format!("replica {number} finds out that it does not lead any more, and stops"));
        self.remove_replica(index);
    }

    fn remove_replica(&mut self, index: usize) {
        let mut replica = self.replicas.remove(index);
        self.ledger.troubles += 1;
        let acted = replica
            .reconciles
            .iter()
            .any(|reconcile| self.ledger.acted.contains(&(replica.number, reconcile.id)));
        if acted {
            self.coverage.meet(Point::CrashedUnwritten);
        }
        replica.die();
        let mut wire = self.wire.lock();
        for call in
            wire.calls.iter().filter(|call| call.abandoned && matches!(call.progress, Progress::Asked))
        {
            self.ledger.leave_behind(call.id, self.server.now);
        }
        wire.tidy();
    }

    fn disturb_watches(&mut self) {
        let index = self.tape.on(Channel::Disturb).index(self.replicas.len());
        let kind = self.tape.on(Channel::Disturb).one(&Kind::ALL);
        let number = self.replicas[index].number;
        if self.tape.on(Channel::Disturb).permille(500) {
            self.coverage.meet(Point::Broken);
            self.ledger.troubles += 1;
            if kind == Kind::Children && self.deletion_unseen(index) {
                self.coverage.meet(Point::DeletionUnseen);
            }
            self.say(|| format!("a watch of replica {number} breaks ({kind:?})"));
            self.replicas[index].break_off(kind);
        } else {
            let back = self.tape.on(Channel::Disturb).index(4);
            if self.replicas[index].bring_again(kind, back, &self.server) {
                self.coverage.meet(if back == 0 { Point::Repeated } else { Point::Stale });
                self.ledger.troubles += 1;
                self.say(|| format!("replica {number} sees an older version again ({kind:?}, {back} back)"));
            }
        }
    }

    fn deletion_unseen(&self, index: usize) -> bool {
        let log = self.server.task_runs.log();
        let seen = self.replicas[index].children.seen.min(log.len());
        log[seen..].iter().any(|event| matches!(event, Happened::Deleted(_)))
    }

    fn disturb_cluster(&mut self) {
        match self.tape.on(Channel::Disturb).weighted(&[((), 4), ((), 2), ((), 2), ((), 1)]) {
            0 => self.disturb_nodes(),
            1 => self.note_something(),
            2 => self.misplace(),
            _ => self.lose_claim(),
        }
    }

    fn disturb_nodes(&mut self) {
        let arch = self.tape.on(Channel::Disturb).one(&ARCHES);
        let name = format!("node-{arch}");
        match self.server.nodes.get(&name) {
            None => {
                self.coverage.meet(Point::NodeCame);
                self.say(|| format!("{name} comes"));
                self.server.put_node(node(arch, true));
            }
            Some(_) if self.tape.on(Channel::Disturb).permille(300) => {
                self.coverage.meet(Point::NodeTainted);
                self.say(|| format!("{name} gets a taint"));
                let mut node = node(arch, true);
                node.spec.taints = vec![archfan::api::kubernetes::Taint {
                    key: "gpu".to_owned(),
                    value: "true".to_owned(),
                    effect: "NoSchedule".to_owned(),
                }];
                self.server.put_node(node);
            }
            Some(_) if self.tape.on(Channel::Disturb).permille(500) => {
                self.coverage.meet(Point::NodeCordoned);
                self.say(|| format!("{name} is cordoned"));
                self.server.put_node(node(arch, false));
            }
            Some(_) => {
                self.coverage.meet(Point::NodeGone);
                self.say(|| format!("{name} goes"));
                self.server.remove_node(&name);
            }
        }
    }

    /// The cluster says something about a pod: an event.
    fn note_something(&mut self) {
        const NOTES: [(&str, &str); 4] = [
            ("TriggeredScaleUp", "pod triggered scale-up: [{arm 0->1 (max: 3)}]"),
            ("NotTriggerScaleUp", "pod didn't trigger scale-up: 1 max node group size reached"),
            ("FailedMount", "MountVolume.SetUp failed for volume \"source\""),
            ("Nominated", "Pod should schedule on: nodeclaim/x"),
        ];
        let pods: Vec<String> = self.server.pods.iter().map(|(name, _)| name.clone()).collect();
        if pods.is_empty() {
            return;
        }
        let pod = pods[self.tape.on(Channel::Disturb).index(pods.len())].clone();
        let (reason, message) = self.tape.on(Channel::Disturb).one(&NOTES);
        self.coverage.meet(Point::Noted);
        self.say(|| format!("the cluster says of {pod}: {reason}"));
        let now = self.server.now;
        for replica in &mut self.replicas {
            let note = PodNote { reason: reason.to_owned(), message: message.to_owned() };
            let due = replica.context.cache.noted(Key::new(NAMESPACE, &pod), note);
            replica.due(due, now);
        }
    }

    /// Something in the cluster has taken the selector off a pod, and it lands on a node of another architecture.
    fn misplace(&mut self) {
        use crate::life::{self, Stage};
        let lost = self.lives.iter().find(|(name, life)| {
            matches!(life.stage, Stage::Unscheduled | Stage::Unschedulable)
                && self.server.pods.get(&life.pod(name)).is_some()
        });
        let Some((name, life)) = lost else { return };
        let (name, pod, arch) = (name.clone(), life.pod(name), life.arch().unwrap_or_default().to_owned());
        let foreign = self
            .server
            .nodes
            .iter()
            .map(|(node, _)| node.clone())
            .find(|node| *node != format!("node-{arch}"));
        let Some(node) = foreign else { return };
        self.coverage.meet(Point::WrongNode);
        self.say(|| format!("the pod of {name} lands on {node}"));
        life::schedule(&mut self.server, &pod, &node);
        if let Some(life) = self.lives.get_mut(&name) {
            life.stage = Stage::Scheduled;
            self.ledger.misplaced.insert(life.uid.clone());
        }
    }

    fn lose_claim(&mut self) {
        let names: Vec<String> = self.server.claims.keys().cloned().collect();
        if names.is_empty() {
            return;
        }
        let name = &names[self.tape.on(Channel::Disturb).index(names.len())];
        self.coverage.meet(Point::ClaimGone);
        self.say(|| format!("the claim {name} is deleted"));
        self.server.claims.remove(name);
    }

    /// What faults have left broken is mended.
    pub(super) fn heal(&mut self) {
        assert_ne!(self.part, Part::Anything);
        while let Some(index) = self.replicas.iter().position(|replica| replica.duty == Duty::Unaware) {
            self.notice(index);
        }
        // One more than there were: for the platform that users edit runs to have.
        for arch in ARCHES.into_iter().chain(["riscv64"]) {
            let name = format!("node-{arch}");
            if self
                .server
                .nodes
                .get(&name)
                .is_none_or(|node| node.spec.unschedulable || !node.spec.taints.is_empty())
            {
                self.server.put_node(node(arch, true));
            }
        }
        while self.can_submit() {
            self.submit();
        }
        self.mend_claims();
        if self.knobs.end_hangs {
            self.lives.values_mut().for_each(|life| life.hangs = false);
        }
    }
}
