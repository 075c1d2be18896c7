//! The simulator's model of the API server and of Tekton, held against the real ones: each scenario is played on both, and both must
//! give the same answers and show the same states.

use archfan_e2e::Namespace;
use futures::stream::{self, StreamExt as _};

mod modelled;
mod real;
mod scenarios;
mod step;

/// How many scenarios are played at once on the cluster: most of their time they wait for pods.
const AT_ONCE: usize = 24;

#[tokio::test]
#[ignore = "on demand: make test-model"]
async fn the_model_does_what_the_cluster_does() {
    let scenarios = scenarios::all();
    assert!(scenarios.len() >= 100, "there are {} scenarios", scenarios.len());
    let namespace = Namespace::new("model").await;
    let real = real::Real::new(&namespace);
    let played = stream::iter(scenarios.iter().enumerate()).map(|(number, scenario)| {
        let real = &real;
        async move {
            let expected = modelled::play(scenario);
            let name = format!("s{number}");
            let found = real.play(&name, scenario, &expected).await;
            (scenario, expected, found)
        }
    });
    let played: Vec<_> = played.buffer_unordered(AT_ONCE).collect().await;
    let mut differences = Vec::new();
    for (scenario, expected, found) in &played {
        if let Some(what) = step::difference(expected, found) {
            differences.push(format!("{}: {what}", scenario.name));
        }
    }
    println!("{} scenarios played on both", played.len());
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
    namespace.done().await;
}
