// Conformance drives KEDA's own client of external scalers, without a cluster: what it asks and how it reads the
// answers is KEDA's code, unchanged.
//
// Requests are JSON lines on standard input, each with an `id` of its own. Answers and events are JSON lines on
// standard output; requests run side by side, so answers come in any order. It ends with standard input.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sync"

	"github.com/go-logr/logr/funcr"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
)

// Metadata of a trigger is small; this is only a bound.
const lineBytesMax = 1 << 20

// output writes whole lines, whoever they come from.
type output struct {
	mutex   sync.Mutex
	encoder *json.Encoder
}

func (o *output) write(message any) {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	if err := o.encoder.Encode(message); err != nil {
		// Nobody listens any more.
		os.Exit(1)
	}
}

func main() {
	out := &output{encoder: json.NewEncoder(os.Stdout)}
	// KEDA's log is where a failing GetMetricSpec shows, and the only place that names its delays.
	logf.SetLogger(funcr.NewJSON(func(line string) {
		out.write(map[string]json.RawMessage{"log": json.RawMessage(line)})
	}, funcr.Options{Verbosity: 1}))
	triggers := triggers{known: map[string]*trigger{}, out: out}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, lineBytesMax)
	for lines.Scan() {
		var ask request
		if err := json.Unmarshal(lines.Bytes(), &ask); err != nil {
			fmt.Fprintf(os.Stderr, "conformance: %v in %s\n", err, lines.Text())
			os.Exit(1)
		}
		go func() {
			reply := answer{ID: ask.ID}
			if err := triggers.do(context.Background(), ask, &reply); err != nil {
				reply.Error = err.Error()
			}
			out.write(reply)
		}()
	}
}
