//! Builds as people write them, builds with a fault in them, and any JSON.

use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};
use serde_json::{Map, Value, json};

/// A run to be made: the build, and the rest of the CustomRun's own spec.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) build: Value,
    pub(super) spec: Value,
    pub(super) name: String,
    /// Access mode of every claim.
    pub(super) mode: &'static str,
    /// Whether claims are bound only when their first pod runs.
    pub(super) waits_for_consumer: bool,
    pub(super) claim_is_there: bool,
}

fn platforms() -> impl Strategy<Value = Value> {
    const KNOWN: [&str; 7] =
        ["linux/amd64", "linux/arm64", "s390x", "linux/ppc64le", "linux/arm/v7", "riscv64", "windows/amd64"];
    let entry = prop_oneof![
        3 => Just(None),
        1 => Just(Some(json!({"required": false}))),
        1 => Just(Some(json!({"runsOn": "linux/amd64"}))),
    ];
    (subsequence(KNOWN.to_vec(), 1..5), prop::collection::vec(entry, 5)).prop_map(|(names, options)| {
        names
            .into_iter()
            .zip(options)
            .map(|(name, options)| match options {
                None => name.into(),
                Some(mut options) => {
                    options["platform"] = name.into();
                    options
                }
            })
            .collect()
    })
}

/// A text that a field may hold: plain, or with variables that are known everywhere.
fn text() -> impl Strategy<Value = String> {
    select(vec![
        "plain",
        "$(params.IMAGE)",
        "x-$(params.IMAGE)-y",
        "$(params.LIST[0])",
        "$(params.OBJECT.key)",
        "$(context.customRun.name)",
        "$$(params.IMAGE)",
        "$(nproc)",
        "",
    ])
    .prop_map(str::to_owned)
}

/// A text of a field that each platform has of its own.
fn platform_text() -> impl Strategy<Value = String> {
    prop_oneof![
        text(),
        select(vec!["$(platform)", "$(platform.key)", "a/$(platform.machine)", "$(platform.variant)"])
            .prop_map(str::to_owned),
    ]
}

fn param_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => platform_text().prop_map(Value::from),
        1 => Just(json!(["a", "$(params.LIST[*])"])),
        1 => Just(json!("$(params.LIST[*])")),
        1 => Just(json!({"key": "$(platform.arch)"})),
    ]
}

fn pod_template() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!({"nodeSelector": {"pool": "$(platform.key)"}})),
        Just(
            json!({"tolerations": [{"key": "ci", "operator": "Exists"}], "env": [{"name": "A", "value": "$(params.IMAGE)"}]})
        ),
        Just(
            json!({"securityContext": {"runAsUser": 1000}, "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["x"]}]})
        ),
        Just(json!({"volumes": [{"name": "v", "emptyDir": {}}], "schedulerName": "s"})),
    ]
}

fn exception() -> impl Strategy<Value = Value> {
    (
        prop::option::of(select(vec!["linux/arm64", "amd64", "s390x"])),
        prop::option::of(pod_template()),
        prop::option::of(param_value()),
        prop::option::of(Just(json!({"name": "other-task"}))),
        prop::option::of(select(vec!["10s", "5m"])),
        prop::option::of(Just(json!([{"name": "main", "computeResources": {"requests": {"cpu": "1"}}}]))),
        prop::option::of(Just(json!({"labels": {"team": "$(platform.arch)"}, "annotations": {"note": "x"}}))),
    )
        .prop_map(|(platform, template, param, task, timeout, steps, metadata)| {
            let mut entry = Map::new();
            let mut put = |name: &str, value: Option<Value>| {
                if let Some(value) = value {
                    entry.insert(name.to_owned(), value);
                }
            };
            put("platform", platform.map(Value::from));
            put("podTemplate", template);
            put("params", param.map(|value| json!([{"name": "P", "value": value}])));
            put("taskRef", task);
            put("timeout", timeout.map(Value::from));
            put("stepSpecs", steps);
            put("metadata", metadata);
            Value::Object(entry)
        })
}

/// What is built: one task by name or written out, or a chain.
fn work() -> impl Strategy<Value = (&'static str, Value)> {
    let source = prop_oneof![
        Just(json!({"taskRef": {"name": "t"}})),
        Just(
            json!({"taskRef": {"resolver": "git", "params": [{"name": "path", "value": "$(params.IMAGE)"}]}})
        ),
        Just(
            json!({"taskSpec": {"steps": [{"name": "main", "image": "i", "script": "echo $(platform.arch) $(params.x)"}]}})
        ),
    ];
    let when = select(vec![
        json!([]),
        json!([{"input": "$(platform.arch)", "operator": "in", "values": ["amd64"]}]),
        json!([{"input": "$(params.IMAGE)", "operator": "notin", "values": ["$(params.LIST[*])"]}]),
    ]);
    let task = (source.clone(), when, prop::option::of(0..3u32), any::<bool>());
    prop_oneof![
        Just(("taskRef", json!({"name": "t"}))),
        source.prop_map(|source| match source.get("taskSpec") {
            Some(spec) => ("taskSpec", spec.clone()),
            None => ("taskRef", source["taskRef"].clone()),
        }),
        prop::collection::vec(task, 1..4).prop_map(|tasks| {
            let tasks: Vec<Value> = tasks
                .into_iter()
                .enumerate()
                .map(|(number, (mut task, when, retries, uses))| {
                    task["name"] = format!("t{number}").into();
                    task["when"] = when;
                    if let Some(retries) = retries {
                        task["retries"] = retries.into();
                    }
                    if uses && number > 0 {
                        let value = format!("$(tasks.t{}.results.IMAGE_DIGEST)", number - 1);
                        task["params"] = json!([{"name": "before", "value": value}]);
                    }
                    task
                })
                .collect();
            ("tasks", Value::from(tasks))
        }),
    ]
}

fn strategy() -> impl Strategy<Value = Value> {
    (
        any::<bool>(),
        0..3i64,
        prop::option::of(select(vec!["30s", "5m"])),
        prop::option::of(0..100i64),
        prop::option::of(Just("rev")),
    )
        .prop_map(|(fail_fast, most, pending, ttl, reuse)| {
            let mut strategy = json!({"failFast": fail_fast, "maxParallel": most});
            for (name, value) in [
                ("pendingTimeout", pending.map(Value::from)),
                ("ttlSecondsAfterFinished", ttl.map(Value::from)),
                ("reuse", reuse.map(Value::from)),
            ] {
                if let Some(value) = value {
                    strategy[name] = value;
                }
            }
            strategy
        })
}

fn binding() -> impl Strategy<Value = Option<Value>> {
    prop_oneof![
        2 => Just(None),
        3 => Just(Some(json!({"name": "source", "persistentVolumeClaim": {"claimName": "shared"}, "subPath": "src"}))),
        1 => Just(Some(json!({"name": "source", "emptyDir": {}}))),
        1 => Just(Some(json!({"name": "source", "volumeClaimTemplate": {"spec": {"accessModes": ["ReadWriteMany"]}}}))),
    ]
}

/// A run that could be somebody's.
pub(super) fn case() -> impl Strategy<Value = Case> {
    let index = prop_oneof![
        2 => Just(None),
        2 => Just(Some(json!({"image": "r.example.com/a/b:v1", "tags": ["latest"]}))),
        1 => Just(Some(json!({"image": "r.example.com/a/b", "archives": {"workspace": "source"}, "annotations": {"a": "b"}}))),
    ];
    let limits = (
        prop::option::of(0..3u32),
        prop::option::of(select(vec!["0", "20s", "10m"])),
        "[a-z]{1,8}|[a-z]{63}",
    );
    let declaration = prop::option::of(prop_oneof![
        Just(json!({"name": "source", "perPlatform": true, "optional": true})),
        Just(json!({"name": "source", "subPath": "$(platform.machine)/x", "optional": true})),
    ]);
    let modes =
        select(vec!["ReadWriteMany", "ReadWriteMany", "ReadWriteOnce", "ReadOnlyMany", "ReadWriteOncePod"]);
    (
        (platforms(), work(), prop::collection::vec(exception(), 0..3), prop::option::of(pod_template())),
        (strategy(), binding(), declaration, index, limits),
        (modes, any::<bool>(), prop::bool::weighted(0.9)),
    )
        .prop_map(|((platforms, (field, work), exceptions, template), (strategy, binding, declaration, index, limits), (mode, waits_for_consumer, claim_is_there))| {
            let mut build = json!({
                "params": [
                    {"name": "IMAGE", "default": "r.example.com/a/b:v1"},
                    {"name": "LIST", "default": ["one", "two"]},
                    {"name": "OBJECT", "properties": {"key": {"type": "string"}}, "default": {"key": "value"}},
                ],
                "platforms": platforms, "strategy": strategy, "taskRunSpecs": exceptions,
            });
            build[field] = work;
            if let Some(template) = template {
                build["taskRunTemplate"] = json!({"podTemplate": template});
            }
            if let Some(declaration) = declaration {
                build["workspaces"] = json!([declaration]);
            }
            if let Some(index) = index.filter(|index| index.get("archives").is_none() || binding.is_some()) {
                build["index"] = index;
            }
            let (retries, timeout, name) = limits;
            let mut spec = json!({"serviceAccountName": "builder"});
            spec["workspaces"] = binding.into_iter().collect();
            if let Some(retries) = retries {
                spec["retries"] = retries.into();
            }
            if let Some(timeout) = timeout {
                spec["timeout"] = timeout.into();
            }
            Case { build, spec, name, mode, waits_for_consumer, claim_is_there }
        })
}

/// Any JSON, with a liking for words that mean something.
pub(super) fn any_json() -> impl Strategy<Value = Value> {
    let word = prop_oneof![
        select(vec![
            "platforms",
            "platform",
            "required",
            "runsOn",
            "taskRef",
            "taskSpec",
            "tasks",
            "name",
            "params",
            "value",
            "default",
            "type",
            "workspaces",
            "subPath",
            "perPlatform",
            "taskRunTemplate",
            "taskRunSpecs",
            "podTemplate",
            "nodeSelector",
            "tolerations",
            "env",
            "volumes",
            "hostAliases",
            "strategy",
            "failFast",
            "maxParallel",
            "pendingTimeout",
            "reuse",
            "index",
            "image",
            "archives",
            "results",
            "status",
            "plan",
            "phase",
            "conditions",
            "kubernetes.io/arch",
            "beta.kubernetes.io/arch",
            "when",
            "input",
            "operator",
            "values",
        ])
        .prop_map(str::to_owned),
        select(vec![
            "$(platform)",
            "$(platform.arch)",
            "$(params.s)",
            "$(params.a[*])",
            "$(params.a[7])",
            "$(params.o.k)",
            "$(params.o[*])",
            "$(tasks.t.results.r)",
            "$(tasks.later.results.r[*])",
            "$(tasks.no.results.r)",
            "$$(platform.arch)",
            "$(platform.nothing)",
            "$(params[\"s\"])",
            "linux/arm64",
            "linux/amd64",
            "in",
            "notin",
            "10m",
            "arm64",
            "amd64",
        ])
        .prop_map(str::to_owned),
        r"\PC{0,6}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-3..70i64).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 60, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((word.clone(), inner), 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// A run that could be somebody's, with any JSON somewhere in it.
pub(super) fn damaged() -> impl Strategy<Value = Case> {
    (case(), prop::collection::vec((any::<Index>(), any_json()), 1..3)).prop_map(|(mut case, faults)| {
        for (place, fault) in faults {
            let mut places = Vec::new();
            pointers(&case.build, &mut String::new(), &mut places);
            let pointer = place.get(&places).clone();
            if let Some(value) = case.build.pointer_mut(&pointer) {
                *value = fault;
            }
        }
        case
    })
}

fn pointers(value: &Value, here: &mut String, places: &mut Vec<String>) {
    places.push(here.clone());
    let mut below = |step: &str, value: &Value| {
        let length = here.len();
        here.push('/');
        here.push_str(&step.replace('~', "~0").replace('/', "~1"));
        pointers(value, here, places);
        here.truncate(length);
    };
    match value {
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| below(&index.to_string(), item));
        }
        Value::Object(fields) => fields.iter().for_each(|(name, item)| below(name, item)),
        _ => {}
    }
}
