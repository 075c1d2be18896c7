package main

import (
	"encoding/json"
	"fmt"
	"io"

	"gopkg.in/yaml.v3"
)

// Writes the JSON schema (draft 7, which every Helm understands).
func writeSchema(out io.Writer, root *value) error {
	schema, err := root.schema()
	if err != nil {
		return err
	}
	schema["$schema"] = "http://json-schema.org/draft-07/schema#"
	// A chart that has this one as a dependency hands its globals down.
	schema["properties"].(map[string]any)["global"] = map[string]any{"type": "object"}
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(schema)
}

func (v *value) schema() (map[string]any, error) {
	kind, err := v.kind()
	if err != nil {
		return nil, err
	}
	schema := map[string]any{"type": kind}
	if v.help != "" {
		schema["description"] = v.help
	}
	for word, said := range v.words {
		if word == "item" {
			schema["items"] = map[string]any{"type": said}
		} else {
			schema[word] = said
		}
	}
	if !v.group() {
		var byDefault any
		if err := v.node.Decode(&byDefault); err != nil {
			return nil, err
		}
		schema["default"] = byDefault
		return schema, nil
	}
	properties := map[string]any{}
	for _, member := range v.members {
		if properties[lastName(member.name)], err = member.schema(); err != nil {
			return nil, err
		}
	}
	schema["properties"] = properties
	// A name that is misspelled would be ignored in silence.
	schema["additionalProperties"] = false
	return schema, nil
}

// The type as JSON schema calls it.
func (v *value) kind() (any, error) {
	if said, there := v.words["type"]; there {
		return said, nil
	}
	switch v.node.Kind {
	case yaml.MappingNode:
		return "object", nil
	case yaml.SequenceNode:
		return "array", nil
	}
	switch v.node.Tag {
	case "!!str":
		return "string", nil
	case "!!int":
		return "integer", nil
	case "!!bool":
		return "boolean", nil
	case "!!float":
		return "number", nil
	}
	return nil, fmt.Errorf("%s: no type for %s; say it with @schema type", v.name, v.node.Tag)
}

func lastName(name string) string {
	for i := len(name) - 1; i >= 0; i-- {
		if name[i] == '.' {
			return name[i+1:]
		}
	}
	return name
}
