// Command chains is Tekton Chains for the test cluster: its reconcilers as they are, without the cloud providers' key
// services and identities, which nothing here could reach and which are most of what its own command links.
package main

import (
	"flag"
	"strings"

	"github.com/tektoncd/chains/pkg/reconciler/pipelinerun"
	"github.com/tektoncd/chains/pkg/reconciler/taskrun"
	"knative.dev/pkg/injection"
	"knative.dev/pkg/injection/sharedmain"
	"knative.dev/pkg/signals"
)

func main() {
	namespaces := flag.String("namespace", "", "the only namespaces to look at, with commas between; by default all")
	config := injection.ParseAndGetRESTConfigOrDie()
	var only []string
	if *namespaces != "" {
		only = strings.Split(*namespaces, ",")
	}
	// Chains adds annotations and finalizers to every object: client-go's 5 requests a second would make a test wait for them.
	config.QPS, config.Burst = 50, 100
	sharedmain.MainWithConfig(signals.NewContext(), "watcher", config,
		taskrun.NewNamespacesScopedController(only), pipelinerun.NewNamespacesScopedController(only))
}
