// Command charttool makes from a chart's values.yaml what would otherwise be written three times: the JSON schema of the
// values, and their table in the chart's README. It also prints rendered objects in a form that can be compared.
//
//	charttool schema VALUES          the JSON schema of the values, on the standard output
//	charttool readme VALUES README   the README with its table of values renewed, on the standard output
//	charttool schemas FOLDER SWAGGER CRD...
//	                                 a JSON schema for each kind of Kubernetes' and of the definitions, in the folder
//	charttool objects                YAML on the standard input; one JSON object a line, sorted, on the standard output
//
// A value is explained by the comment above it that begins with `# --`. After the value may stand `# @schema KEY:VALUE; …`
// with words of JSON schema; `item` gives the type of a list's items.
package main

import (
	"fmt"
	"os"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "charttool:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 2 && args[0] == "schema":
		values, err := readValues(args[1])
		if err != nil {
			return err
		}
		return writeSchema(os.Stdout, values)
	case len(args) == 3 && args[0] == "readme":
		values, err := readValues(args[1])
		if err != nil {
			return err
		}
		return writeReadme(os.Stdout, values, args[2])
	case len(args) >= 3 && args[0] == "schemas":
		return writeSchemas(args[1], args[2], args[3:])
	case len(args) == 1 && args[0] == "objects":
		return writeObjects(os.Stdout, os.Stdin)
	}
	return fmt.Errorf("usage: charttool schema VALUES | readme VALUES README | schemas FOLDER SWAGGER CRD... | objects")
}
