package main

import (
	"fmt"
	"os"
	"strings"

	"gopkg.in/yaml.v3"
)

// A value of the chart: one that users set, or a group of them.
type value struct {
	name    string
	help    string
	node    *yaml.Node
	words   map[string]any // what `# @schema` says
	members []*value       // of a group
}

// Reads values.yaml with its comments.
func readValues(path string) (*value, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	root := &value{node: document.Content[0], words: map[string]any{}}
	if err := root.read(strings.Split(string(text), "\n")); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return root, nil
}

// Reads the members of a mapping. Comments are looked up by line, for the parser gives some of them to a neighbour.
func (v *value) read(lines []string) error {
	for i := 0; i < len(v.node.Content); i += 2 {
		key, node := v.node.Content[i], v.node.Content[i+1]
		member := &value{name: key.Value, node: node, help: comment(lines, key.Line-1)}
		if v.name != "" {
			member.name = v.name + "." + key.Value
		}
		var err error
		if member.words, err = words(lines[key.Line-1]); err != nil {
			return fmt.Errorf("line %d: %s: %w", key.Line, member.name, err)
		}
		if member.group() {
			if err := member.read(lines); err != nil {
				return err
			}
		} else if member.help == "" {
			return fmt.Errorf("line %d: %s has no comment that begins with # --", key.Line, member.name)
		}
		if err := member.check(key.Line); err != nil {
			return err
		}
		v.members = append(v.members, member)
	}
	return nil
}

// Whether the value is a group of values, and not one that users fill as they like.
func (v *value) group() bool {
	_, open := v.words["additionalProperties"]
	return v.node.Kind == yaml.MappingNode && !open
}

func (v *value) check(line int) error {
	switch {
	case v.node.Kind == yaml.MappingNode && v.group() && len(v.node.Content) == 0:
		return fmt.Errorf("line %d: %s is an empty map: say what may be in it with @schema additionalProperties", line, v.name)
	case v.node.Kind == yaml.SequenceNode && v.words["item"] == nil:
		return fmt.Errorf("line %d: %s is a list: say of what with @schema item", line, v.name)
	}
	return nil
}

// The comment that begins with `# --` in the block of comments above a line, in one line.
func comment(lines []string, at int) string {
	first := at
	for first > 0 && strings.HasPrefix(strings.TrimSpace(lines[first-1]), "#") {
		first--
	}
	var said []string
	for _, line := range lines[first:at] {
		text := strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), "#"))
		if rest, begins := strings.CutPrefix(text, "-- "); begins {
			said = []string{rest}
		} else if said != nil {
			said = append(said, text)
		}
	}
	return strings.Join(said, " ")
}

// What `# @schema` says on a line.
func words(line string) (map[string]any, error) {
	found := map[string]any{}
	_, text, there := strings.Cut(line, "# @schema ")
	if !there {
		return found, nil
	}
	for _, part := range strings.Split(text, ";") {
		key, written, there := strings.Cut(strings.TrimSpace(part), ":")
		if !there {
			return nil, fmt.Errorf("@schema: %q is not KEY:VALUE", part)
		}
		if key == "pattern" {
			found[key] = written
			continue
		}
		var parsed any
		if err := yaml.Unmarshal([]byte(written), &parsed); err != nil {
			return nil, fmt.Errorf("@schema %s: %w", key, err)
		}
		found[key] = parsed
	}
	return found, nil
}
