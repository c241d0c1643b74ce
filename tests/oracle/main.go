// Answers questions about NetworkPolicies with the matcher of Cyclonus, which shares no code and no author with
// netproof. Reads a list of worlds from standard input and writes a list of answers for each.
package main

import (
	"encoding/json"
	"log"
	"os"

	"github.com/mattfenwick/cyclonus/pkg/matcher"
	v1 "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
)

type end struct {
	Namespace       string            `json:"namespace"`
	PodLabels       map[string]string `json:"podLabels"`
	NamespaceLabels map[string]string `json:"namespaceLabels"`
	IP              string            `json:"ip"`
}

type question struct {
	Source      end         `json:"source"`
	Destination end         `json:"destination"`
	Port        int         `json:"port"`
	PortName    string      `json:"portName"`
	Protocol    v1.Protocol `json:"protocol"`
}

type world struct {
	Policies  []*networking.NetworkPolicy `json:"policies"`
	Questions []question                  `json:"questions"`
}

// An end without a namespace is outside the cluster.
func (e end) peer() *matcher.TrafficPeer {
	if e.Namespace == "" {
		return &matcher.TrafficPeer{IP: e.IP}
	}
	return &matcher.TrafficPeer{IP: e.IP, Internal: &matcher.InternalPeer{
		PodLabels:       e.PodLabels,
		NamespaceLabels: e.NamespaceLabels,
		Namespace:       e.Namespace,
	}}
}

// The API server does this; the matcher wants it done.
func setDefaults(policy *networking.NetworkPolicy) {
	if len(policy.Spec.PolicyTypes) > 0 {
		return
	}
	policy.Spec.PolicyTypes = []networking.PolicyType{networking.PolicyTypeIngress}
	if len(policy.Spec.Egress) > 0 {
		policy.Spec.PolicyTypes = append(policy.Spec.PolicyTypes, networking.PolicyTypeEgress)
	}
}

func (w world) answers() []bool {
	for _, policy := range w.Policies {
		setDefaults(policy)
	}
	policies := matcher.BuildNetworkPolicies(false, w.Policies)
	answers := make([]bool, 0, len(w.Questions))
	for _, q := range w.Questions {
		answers = append(answers, policies.IsTrafficAllowed(&matcher.Traffic{
			Source:           q.Source.peer(),
			Destination:      q.Destination.peer(),
			ResolvedPort:     q.Port,
			ResolvedPortName: q.PortName,
			Protocol:         q.Protocol,
		}).IsAllowed())
	}
	return answers
}

func main() {
	var worlds []world
	if err := json.NewDecoder(os.Stdin).Decode(&worlds); err != nil {
		log.Fatal(err)
	}
	answers := make([][]bool, 0, len(worlds))
	for _, w := range worlds {
		answers = append(answers, w.answers())
	}
	if err := json.NewEncoder(os.Stdout).Encode(answers); err != nil {
		log.Fatal(err)
	}
}
