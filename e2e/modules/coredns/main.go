// Command coredns is CoreDNS with the plugins that the test cluster's DNS needs and no others: the whole set compiles
// the clients of every cloud.
package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"

	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/hosts"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/template"
)

func main() {
	// The order in which a query meets them, as CoreDNS's own plugin.cfg has it.
	dnsserver.Directives = []string{"errors", "health", "ready", "cache", "template", "hosts", "kubernetes"}
	coremain.Run()
}
