package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"gopkg.in/yaml.v3"
)

// Writes every document as one line of JSON with sorted keys; the lines are sorted too.
func writeObjects(out io.Writer, in io.Reader) error {
	decoder := yaml.NewDecoder(in)
	var lines []string
	for {
		var object map[string]any
		err := decoder.Decode(&object)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if len(object) == 0 {
			continue
		}
		line, err := json.Marshal(object)
		if err != nil {
			return err
		}
		lines = append(lines, string(line))
	}
	slices.Sort(lines)
	for _, line := range lines {
		if _, err := fmt.Fprintln(out, line); err != nil {
			return err
		}
	}
	return nil
}
