// Says for which architecture it was compiled.
package main

import (
	"os"
	"runtime"
)

func main() {
	os.Stdout.WriteString("go on " + runtime.GOARCH + "\n")
}
