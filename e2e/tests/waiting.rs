//! Why a platform waits, explained: in the run's condition, in an event, and in `extraFields`, as soon as it is known.

use std::time::Duration;

use archfan_e2e::Namespace;
use archfan_e2e::cluster::env;
use archfan_e2e::objects::{claim, core, embedded, name, platform, script, succeeded, time};
use archfan_e2e::wait::until;
use k8s_openapi::jiff::SignedDuration;
use serde_json::{Value, json};

fn sleep() -> Value {
    script(&env("ARCHFAN_IMAGE_SHELL"), &[], "sleep 1")
}

fn build(platform: &str) -> Value {
    json!({"platforms": [platform], "taskSpec": sleep()})
}

/// The condition, the event and `extraFields` say the same.
async fn told(namespace: &Namespace, run: &str, platform: &str, reason: &str) -> String {
    let message = namespace.waits(run, platform, reason).await;
    let condition = succeeded(&namespace.run(run).await).2;
    assert!(condition.contains(&message[..message.len().min(200)]), "{condition}\n{message}");
    let event = namespace.event(run, "Warning", reason).await;
    assert!(event.starts_with(&format!("{platform} waits: ")), "{event}");
    message
}

#[tokio::test]
async fn no_node_of_the_architecture_until_one_joins() {
    let namespace = Namespace::new("nonode").await;
    namespace.create(&embedded("run", &build("linux/ppc64le"))).await;
    let message = namespace.waits("run", "linux/ppc64le", "NoNode").await;
    // From the scheduler's word to ours.
    let pod = namespace.pod_of("run-linux-ppc64le").await;
    let conditions = pod["status"]["conditions"].as_array().expect("conditions of the pod");
    let refused =
        conditions.iter().find(|condition| condition["type"] == "PodScheduled").expect("one of them");
    let said = time(&refused["lastTransitionTime"]);
    let took = namespace.event_time("run", "NoNode").await.duration_since(said);
    assert!(took < SignedDuration::from_secs(2), "{took:?}");
    assert_eq!(message, "no node has kubernetes.io/arch=ppc64le");
    told(&namespace, "run", "linux/ppc64le", "NoNode").await;

    let node = format!("pretended-{}", namespace.name);
    namespace.pretend_node(&node, "ppc64le", json!([])).await;
    let run = namespace
        .run_until("run", "to use the node that joined", |run| {
            platform(run, "linux/ppc64le")["node"] == node.as_str()
        })
        .await;
    assert!(!succeeded(&run).2.contains("no node has"), "the message goes: {}", succeeded(&run).2);
    namespace.cancel("run", None).await;
    // Nobody stands behind the node, so nobody ends the pod but this.
    let path = format!("{}/{}", core(&namespace.name, "pods"), name(&pod));
    let now = json!({"gracePeriodSeconds": 0});
    let _ = namespace.cluster.request("DELETE", &path, "application/json", Some(&now)).await;
    namespace.ended("run").await;
    namespace.cluster.delete(&format!("/api/v1/nodes/{node}")).await;
    namespace.done().await;
}

#[tokio::test]
async fn nodes_without_room_and_with_taints() {
    let namespace = Namespace::new("room").await;
    let mut full = build("linux/amd64");
    full["taskRunSpecs"] = json!([{"computeResources": {"requests": {"cpu": "1000"}}}]);
    namespace.create(&embedded("full", &full)).await;
    let message = told(&namespace, "full", "linux/amd64", "NodesFull").await;
    assert!(
        message.contains("kubernetes.io/arch=amd64") && message.contains("Insufficient cpu"),
        "{message}"
    );

    let node = format!("tainted-{}", namespace.name);
    namespace
        .pretend_node(&node, "mips64le", json!([{"key": "gpu", "value": "true", "effect": "NoSchedule"}]))
        .await;
    namespace.create(&embedded("taint", &build("linux/mips64le"))).await;
    let message = told(&namespace, "taint", "linux/mips64le", "UntoleratedTaint").await;
    assert!(message.contains("gpu") && message.contains("add a toleration"), "{message}");

    let mut selector = build("linux/amd64");
    selector["taskRunTemplate"] = json!({"podTemplate": {"nodeSelector": {"pool": "nowhere"}}});
    namespace.create(&embedded("selector", &selector)).await;
    let message = told(&namespace, "selector", "linux/amd64", "Unschedulable").await;
    assert!(message.contains("nodeSelector or affinity fits none"), "{message}");

    namespace.cluster.delete(&format!("/api/v1/nodes/{node}")).await;
    namespace.done().await;
}

#[tokio::test]
async fn an_autoscaler_at_work() {
    let namespace = Namespace::new("autoscaler").await;
    namespace.create(&embedded("run", &build("linux/riscv64"))).await;
    namespace.waits("run", "linux/riscv64", "NoNode").await;
    let pod = namespace.pod_of("run-linux-riscv64").await;
    let event = |reason: &str, message: &str| {
        json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": {"generateName": "scale-", "namespace": namespace.name},
            "involvedObject": {"apiVersion": "v1", "kind": "Pod", "namespace": namespace.name, "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]},
            "type": "Normal", "reason": reason, "message": message,
            "source": {"component": "cluster-autoscaler"},
        })
    };
    let events = core(&namespace.name, "events");
    // As the cluster autoscaler words it.
    namespace
        .cluster
        .create(
            &events,
            &event("NotTriggerScaleUp", "pod didn't trigger scale-up: 1 max node group size reached"),
        )
        .await;
    namespace
        .run_until("run", "to say that the autoscaler does not help", |run| {
            platform(run, "linux/riscv64")["message"]
                .as_str()
                .is_some_and(|m| m.contains("the autoscaler adds none"))
        })
        .await;
    namespace
        .cluster
        .create(&events, &event("TriggeredScaleUp", "pod triggered scale-up: [{riscv 0->1 (max: 3)}]"))
        .await;
    let message = told(&namespace, "run", "linux/riscv64", "Autoscaling").await;
    assert!(message.contains("riscv 0->1"), "{message}");
    namespace.cancel("run", None).await;
    namespace.ended("run").await;
    namespace.done().await;
}

#[tokio::test]
async fn volumes_that_are_not_there() {
    let namespace = Namespace::new("volume").await;
    let with_claim = |name: &str| {
        let mut run = embedded(name, &build("linux/amd64"));
        run["spec"]["workspaces"] = json!([{"name": "w", "persistentVolumeClaim": {"claimName": name}}]);
        run
    };
    namespace.create(&with_claim("late")).await;
    let message = told(&namespace, "late", "linux/amd64", "ClaimPending").await;
    assert!(message.contains("\"late\" does not exist yet"), "{message}");
    assert!(namespace.children("late").await.is_empty());
    namespace.create(&claim("late", "shared", "ReadWriteMany")).await;
    assert_eq!(succeeded(&namespace.ended("late").await).0, "True", "it goes on once the claim is there");

    namespace.create(&claim("unbound", "no-such-class", "ReadWriteMany")).await;
    namespace.create(&with_claim("unbound")).await;
    let message = told(&namespace, "unbound", "linux/amd64", "Volume").await;
    assert!(message.to_lowercase().contains("persistentvolumeclaim"), "{message}");
    namespace.done().await;
}

#[tokio::test]
async fn quotas_on_pods_and_on_task_runs() {
    let namespace = Namespace::new("quota").await;
    let quota = |name: &str, hard: Value| json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name}, "spec": {"hard": hard}});
    namespace.create(&quota("pods", json!({"pods": "0"}))).await;
    let path = format!("{}/pods", core(&namespace.name, "resourcequotas"));
    until("the quota to be counted", Duration::from_secs(30), || async {
        let quota = namespace.cluster.get(&path).await.unwrap_or_default();
        if quota["status"]["hard"].is_object() { Ok(()) } else { Err(quota["status"].clone()) }
    })
    .await;
    namespace.create(&embedded("pods", &build("linux/amd64"))).await;
    let message = told(&namespace, "pods", "linux/amd64", "Quota").await;
    assert!(message.to_lowercase().contains("quota"), "{message}");
    namespace.cancel("pods", None).await;
    namespace.ended("pods").await;

    let runs = Namespace::new("quotaruns").await;
    runs.create(&quota("runs", json!({"count/taskruns.tekton.dev": "1"}))).await;
    let path = format!("{}/runs", core(&runs.name, "resourcequotas"));
    until("the quota to be counted", Duration::from_secs(30), || async {
        let quota = runs.cluster.get(&path).await.unwrap_or_default();
        if quota["status"]["hard"].is_object() { Ok(()) } else { Err(quota["status"].clone()) }
    })
    .await;
    let two = json!({"platforms": ["linux/amd64", {"platform": "linux/s390x", "runsOn": "linux/amd64"}], "taskSpec": sleep()});
    runs.create(&embedded("runs", &two)).await;
    let run = runs
        .run_until("runs", "one platform to wait for the quota", |run| {
            run.to_string().contains("exceeded quota")
        })
        .await;
    assert_eq!(succeeded(&run).0, "Unknown", "a quota is no failure: others' runs end");
    runs.cluster.patch(&path, &json!({"spec": {"hard": {"count/taskruns.tekton.dev": "5"}}})).await;
    assert_eq!(succeeded(&runs.ended("runs").await).0, "True");
    runs.done().await;
    namespace.done().await;
}

#[tokio::test]
async fn images_that_cannot_be_pulled_and_pods_that_are_not_admitted() {
    let namespace = Namespace::new("pull").await;
    let image = format!("{}/no/such/image:v1", env("ARCHFAN_REGISTRY"));
    let task = json!({"steps": [{"name": "run", "image": image, "command": ["true"]}]});
    namespace.create(&embedded("pull", &json!({"platforms": ["linux/amd64"], "taskSpec": task}))).await;
    // Tekton gives up on such a pod soon; the registry's words are there before and after.
    let run = namespace
        .run_until("pull", "to quote the registry", |run| {
            let entry = platform(run, "linux/amd64");
            entry["message"].as_str().is_some_and(|m| m.contains("no/such/image") && m.contains("not found"))
        })
        .await;
    let reason = platform(&run, "linux/amd64")["reason"].as_str().unwrap_or_default().to_owned();
    assert!(["ImagePull", "TaskRunImagePullFailed"].contains(&reason.as_str()), "{reason}");
    assert_eq!(succeeded(&namespace.ended("pull").await).0, "False");

    let path = format!("/api/v1/namespaces/{}", namespace.name);
    let restricted = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
    namespace.cluster.patch(&path, &restricted).await;
    namespace.create(&embedded("admission", &build("linux/amd64"))).await;
    let run = namespace.ended("admission").await;
    let (_, reason, message) = succeeded(&run);
    assert_eq!(reason, "BuildFailed");
    assert!(message.contains("violates PodSecurity"), "{message}");
    namespace.done().await;
}
