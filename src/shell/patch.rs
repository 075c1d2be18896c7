//! What has to be said so that one document becomes another: JSON merge patches (RFC 7396).
//!
//! A field that a patch does not name stays as it is. So what is to go must be named, and a document that merely leaves it out, as
//! serialised structures do, would keep it for ever.

use serde_json::{Map, Value};

/// The patch that makes `to` of `from`. Fields that are null count as fields that are not there, since a patch cannot tell them apart.
pub fn between(from: &Value, to: &Value) -> Value {
    let (Value::Object(from), Value::Object(to)) = (from, to) else { return to.clone() };
    let mut patch = Map::new();
    for (name, value) in to {
        let before = from.get(name).unwrap_or(&Value::Null);
        if before == value {
            continue;
        }
        patch.insert(name.clone(), between(before, value));
    }
    for name in from.keys().filter(|name| !to.contains_key(*name)) {
        patch.insert(name.clone(), Value::Null);
    }
    Value::Object(patch)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// RFC 7396, section 2, word for word.
    fn apply(target: Value, patch: &Value) -> Value {
        let Value::Object(patch) = patch else { return patch.clone() };
        let mut target = match target {
            Value::Object(target) => target,
            _ => Map::new(),
        };
        for (name, value) in patch {
            if value.is_null() {
                target.remove(name);
            } else {
                let before = target.remove(name).unwrap_or_default();
                target.insert(name.clone(), apply(before, value));
            }
        }
        Value::Object(target)
    }

    /// A document as a server has it after a patch: without fields that are null.
    fn stored(value: &Value) -> Value {
        match value {
            Value::Object(fields) => {
                let there = fields.iter().filter(|(_, value)| !value.is_null());
                Value::Object(there.map(|(name, value)| (name.clone(), stored(value))).collect())
            }
            other => other.clone(),
        }
    }

    fn documents() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (0..3).prop_map(Value::from),
            "[ab]{0,2}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map("[a-d]", inner, 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    #[test]
    fn what_is_to_go_is_named() {
        let from =
            json!({"index": {"phase": "Pending", "reason": "NoNode"}, "results": [1], "kept": {"a": 1}});
        let to = json!({"index": {"phase": "Running"}, "kept": {"a": 1}});
        let patch = between(&from, &to);
        assert_eq!(patch, json!({"index": {"phase": "Running", "reason": null}, "results": null}));
        assert_eq!(apply(from, &patch), to);
        assert_eq!(between(&to, &to), json!({}));
        assert_eq!(between(&Value::Null, &to), to);
    }

    proptest! {
        #[test]
        fn a_patch_makes_the_one_of_the_other(from in documents(), to in documents()) {
            let (from, to) = (json!({"x": from}), json!({"x": to}));
            prop_assert_eq!(apply(stored(&from), &between(&from, &to)), stored(&to));
        }
    }
}
