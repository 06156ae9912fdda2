package main

import (
	v2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/metrics/pkg/apis/external_metrics"
)

// request is one line of standard input.
type request struct {
	ID uint64 `json:"id"`
	// One of open, specs, metrics, run, close.
	Do string `json:"do"`
	// The test's own name for a trigger.
	Trigger string `json:"trigger"`
	// For open: `external` or `external-push`, and what the ScaledObject and its TriggerAuthentication say.
	Type      string            `json:"type"`
	Namespace string            `json:"namespace"`
	Name      string            `json:"name"`
	Index     int               `json:"index"`
	Metadata  map[string]string `json:"metadata"`
	Auth      map[string]string `json:"auth"`
	// For metrics: the metric as the HPA calls it, KEDA's index included.
	Metric string `json:"metric"`
}

// answer is one line of standard output: what came of the request with the same id.
type answer struct {
	ID    uint64 `json:"id"`
	Error string `json:"error,omitempty"`
	// For specs: null where KEDA has none.
	Specs []spec `json:"specs"`
	// For metrics.
	Values []value `json:"values"`
	Active bool    `json:"active"`
}

// event is one line of standard output that no request asks for.
type event struct {
	// One of active, specs, ended (the push loop), specs_ended (the stream of specs).
	Event   string `json:"event"`
	Trigger string `json:"trigger"`
	Active  bool   `json:"active"`
	Specs   []spec `json:"specs"`
}

// spec is a metric of the HPA.
type spec struct {
	Name   string  `json:"name"`
	Type   string  `json:"type"`
	Target float64 `json:"target"`
}

// value is what the HPA is told.
type value struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
}

func specs(of []v2.MetricSpec) []spec {
	if of == nil {
		return nil
	}
	told := make([]spec, 0, len(of))
	for _, one := range of {
		target := one.External.Target
		told = append(told, spec{
			Name: one.External.Metric.Name, Type: string(target.Type), Target: size(target),
		})
	}
	return told
}

func values(of []external_metrics.ExternalMetricValue) []value {
	told := make([]value, 0, len(of))
	for _, one := range of {
		told = append(told, value{Name: one.MetricName, Value: one.Value.AsApproximateFloat64()})
	}
	return told
}

func size(target v2.MetricTarget) float64 {
	for _, quantity := range []*resource.Quantity{target.AverageValue, target.Value} {
		if quantity != nil {
			return quantity.AsApproximateFloat64()
		}
	}
	return 0
}
