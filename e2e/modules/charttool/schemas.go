package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"gopkg.in/yaml.v3"
)

// Writes a JSON schema for each kind that kubeconform is to know: from Kubernetes' own description of its API (swagger.json), and
// from CustomResourceDefinitions. Fields that are not described are errors.
func writeSchemas(folder, swagger string, definitions []string) error {
	if err := fromSwagger(folder, swagger); err != nil {
		return err
	}
	for _, path := range definitions {
		if err := fromDefinition(folder, path); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}

func fromSwagger(folder, path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var swagger struct {
		Definitions map[string]map[string]any `json:"definitions"`
	}
	if err := json.Unmarshal(text, &swagger); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for name, definition := range swagger.Definitions {
		// Two types have no type of their own in this description.
		if strings.HasSuffix(name, ".IntOrString") || strings.HasSuffix(name, ".Quantity") {
			definition["type"] = []string{"string", "number"}
			delete(definition, "format")
		}
		closed(definition)
	}
	for name, definition := range swagger.Definitions {
		kinds, _ := definition["x-kubernetes-group-version-kind"].([]any)
		if len(kinds) != 1 {
			continue
		}
		kind := kinds[0].(map[string]any)
		schema := map[string]any{
			"$ref":        "#/definitions/" + name,
			"definitions": needed(swagger.Definitions, name),
		}
		if err := write(folder, kind["kind"].(string), kind["version"].(string), schema); err != nil {
			return err
		}
	}
	return nil
}

// The definitions to which one leads.
func needed(all map[string]map[string]any, name string) map[string]any {
	found := map[string]any{}
	var follow func(any)
	follow = func(at any) {
		switch at := at.(type) {
		case map[string]any:
			if to, is := at["$ref"].(string); is {
				name := strings.TrimPrefix(to, "#/definitions/")
				if _, there := found[name]; !there {
					found[name] = all[name]
					follow(all[name])
				}
			}
			for _, member := range at {
				follow(member)
			}
		case []any:
			for _, member := range at {
				follow(member)
			}
		}
	}
	found[name] = all[name]
	follow(all[name])
	return found
}

func fromDefinition(folder, path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var definition struct {
		Spec struct {
			Names    struct{ Kind string }
			Versions []struct {
				Name   string
				Schema struct {
					OpenAPI map[string]any `yaml:"openAPIV3Schema"`
				}
			}
		}
	}
	if err := yaml.Unmarshal(text, &definition); err != nil {
		return err
	}
	for _, version := range definition.Spec.Versions {
		closed(version.Schema.OpenAPI)
		// What a definition says of metadata is the API server's to know.
		version.Schema.OpenAPI["properties"].(map[string]any)["metadata"] = map[string]any{"type": "object"}
		if err := write(folder, definition.Spec.Names.Kind, version.Name, version.Schema.OpenAPI); err != nil {
			return err
		}
	}
	return nil
}

// Makes undescribed fields errors, at every depth.
func closed(schema map[string]any) {
	if properties, is := schema["properties"].(map[string]any); is {
		if _, open := schema["additionalProperties"]; !open && schema["x-kubernetes-preserve-unknown-fields"] != true {
			schema["additionalProperties"] = false
		}
		for _, member := range properties {
			if member, is := member.(map[string]any); is {
				closed(member)
			}
		}
	}
	for _, below := range []string{"items", "additionalProperties"} {
		if member, is := schema[below].(map[string]any); is {
			closed(member)
		}
	}
	if schema["x-kubernetes-int-or-string"] == true {
		delete(schema, "type")
	}
}

func write(folder, kind, version string, schema map[string]any) error {
	text, err := json.Marshal(schema)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, strings.ToLower(kind)+"-"+strings.ToLower(version)+".json"), text, 0o644)
}
