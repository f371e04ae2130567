package observe

import (
	"context"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	sdk "go.opentelemetry.io/otel/sdk/trace"
)

// Spans says what became of the spans that were recorded. Those that are not in Exported
// or Failed wait, 2,048 and a batch at most, or found no room and were dropped.
type Spans struct {
	Ended    uint64 // to be exported
	Exported uint64 // taken by the collector
	Failed   uint64 // in batches that it did not take
}

var spans = prometheus.NewDesc("fairlead_spans_total",
	"Spans that were recorded: all (ended), and of them those that the collector took (exported) and that it did not (failed). The rest waits, 2,560 at most, or was dropped.",
	[]string{"result"}, nil)

func (s *Spans) collect(ch chan<- prometheus.Metric) {
	for result, n := range map[string]uint64{"ended": s.Ended, "exported": s.Exported, "failed": s.Failed} {
		ch <- prometheus.MustNewConstMetric(spans, prometheus.CounterValue, float64(n), result)
	}
}

// spanCount counts spans as they end.
type spanCount struct{ ended, exported, failed atomic.Uint64 }

// OnStart is there for the SDK.
func (c *spanCount) OnStart(context.Context, sdk.ReadWriteSpan) {}

// OnEnd counts what is to be exported.
func (c *spanCount) OnEnd(s sdk.ReadOnlySpan) {
	if s.SpanContext().IsSampled() {
		c.ended.Add(1)
	}
}

// Shutdown is there for the SDK.
func (c *spanCount) Shutdown(context.Context) error { return nil }

// ForceFlush is there for the SDK.
func (c *spanCount) ForceFlush(context.Context) error { return nil }
