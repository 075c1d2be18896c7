package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
)

// Between these lines of a README stands the table.
const (
	tableBegins = "<!-- values: made from values.yaml by make generate -->"
	tableEnds   = "<!-- end of values -->"
)

func writeReadme(out io.Writer, root *value, path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, begins := strings.Cut(string(text), tableBegins)
	_, after, ends := strings.Cut(rest, tableEnds)
	if !begins || !ends {
		return fmt.Errorf("%s: the lines %q and %q are missing", path, tableBegins, tableEnds)
	}
	table := &strings.Builder{}
	table.WriteString("| value | type | default | meaning |\n|---|---|---|---|\n")
	if err := root.rows(table); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s%s\n\n%s\n%s%s", before, tableBegins, table, tableEnds, after)
	return err
}

func (v *value) rows(table *strings.Builder) error {
	if v.group() {
		for _, member := range v.members {
			if err := member.rows(table); err != nil {
				return err
			}
		}
		return nil
	}
	kind, err := v.kind()
	if err != nil {
		return err
	}
	if several, is := kind.([]any); is {
		words := make([]string, 0, len(several))
		for _, one := range several {
			words = append(words, fmt.Sprint(one))
		}
		kind = strings.Join(words, " or ")
	}
	var byDefault any
	if err := v.node.Decode(&byDefault); err != nil {
		return err
	}
	written, err := json.Marshal(byDefault)
	if err != nil {
		return err
	}
	cell := strings.NewReplacer("|", "\\|", "\n", " ").Replace
	fmt.Fprintf(table, "| `%s` | %s | `%s` | %s |\n", v.name, kind, cell(string(written)), cell(v.help))
	return nil
}
