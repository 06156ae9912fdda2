package main

import (
	"context"
	"fmt"
	"sync"

	"github.com/kedacore/keda/v2/pkg/scalers"
	"github.com/kedacore/keda/v2/pkg/scalers/scalersconfig"
)

// trigger is one open scaler of KEDA.
type trigger struct {
	scaler scalers.Scaler
	// Of its push loop; nil until that runs.
	stop context.CancelFunc
}

// triggers are all that are open.
type triggers struct {
	mutex sync.Mutex
	known map[string]*trigger
	out   *output
}

func (t *triggers) do(ctx context.Context, ask request, reply *answer) error {
	if ask.Do == "open" {
		return t.open(ask)
	}
	found, err := t.find(ask.Trigger)
	if err != nil {
		return err
	}
	switch ask.Do {
	case "specs":
		reply.Specs = specs(found.scaler.GetMetricSpecForScaling(ctx))
	case "metrics":
		metrics, active, err := found.scaler.GetMetricsAndActivity(ctx, ask.Metric)
		reply.Values, reply.Active = values(metrics), active
		return err
	case "run":
		return t.run(ctx, ask.Trigger, found)
	case "close":
		return t.close(ctx, ask.Trigger, found)
	default:
		return fmt.Errorf("nobody knows how to %q", ask.Do)
	}
	return nil
}

// open does what KEDA does for a trigger when its ScaledObject is reconciled.
func (t *triggers) open(ask request) error {
	config := &scalersconfig.ScalerConfig{
		ScalableObjectName:      ask.Name,
		ScalableObjectNamespace: ask.Namespace,
		ScalableObjectType:      "ScaledObject",
		TriggerType:             ask.Type,
		TriggerMetadata:         ask.Metadata,
		AuthParams:              ask.Auth,
		TriggerIndex:            ask.Index,
	}
	var scaler scalers.Scaler
	var err error
	if ask.Type == "external-push" {
		scaler, err = scalers.NewExternalPushScaler(config)
	} else {
		scaler, err = scalers.NewExternalScaler(config)
	}
	if err != nil {
		return err
	}
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.known[ask.Trigger] = &trigger{scaler: scaler}
	return nil
}

// run starts KEDA's push loop, and tells what comes out of it.
func (t *triggers) run(ctx context.Context, name string, of *trigger) error {
	push, can := of.scaler.(scalers.PushScaler)
	streamer, canStream := of.scaler.(scalers.MetricSpecStreamer)
	if !can || !canStream {
		return fmt.Errorf("%s is not of type external-push", name)
	}
	ctx, of.stop = context.WithCancel(ctx)
	active := make(chan bool)
	go push.Run(ctx, active)
	go func() {
		for is := range active {
			t.out.write(event{Event: "active", Trigger: name, Active: is})
		}
		t.out.write(event{Event: "ended", Trigger: name})
	}()
	go func() {
		for update := range streamer.MetricSpecChan() {
			t.out.write(event{Event: "specs", Trigger: name, Specs: specs(update)})
		}
		t.out.write(event{Event: "specs_ended", Trigger: name})
	}()
	return nil
}

// close does what KEDA does when the ScaledObject goes.
func (t *triggers) close(ctx context.Context, name string, of *trigger) error {
	if of.stop != nil {
		of.stop()
	}
	t.mutex.Lock()
	delete(t.known, name)
	t.mutex.Unlock()
	return of.scaler.Close(ctx)
}

func (t *triggers) find(name string) (*trigger, error) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if found, ok := t.known[name]; ok {
		return found, nil
	}
	return nil, fmt.Errorf("no trigger %q is open", name)
}
