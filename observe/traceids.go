package observe

import (
	"context"
	"encoding/binary"
	"hash/maphash"
	"math/rand/v2"

	"go.opentelemetry.io/otel/trace"
)

// ids makes the ids of traces and spans, and knows those of spans again: half of one is
// random, and half follows from that, its trace and the seed.
type ids struct{ seed maphash.Seed }

func newIDs() ids { return ids{maphash.MakeSeed()} }

// NewIDs is for the SDK.
func (i ids) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	var id trace.TraceID
	binary.BigEndian.PutUint64(id[:8], rand.Uint64()) //nolint:gosec // what is to be unique is no secret
	binary.BigEndian.PutUint64(id[8:], rand.Uint64()) //nolint:gosec // the same
	id[15] |= 1                                       // a zero is none
	return id, i.NewSpanID(ctx, id)
}

// NewSpanID is for the SDK.
func (i ids) NewSpanID(_ context.Context, of trace.TraceID) trace.SpanID {
	var id trace.SpanID
	binary.BigEndian.PutUint32(id[:4], rand.Uint32()|1) //nolint:gosec // the same
	binary.BigEndian.PutUint32(id[4:], i.sign(of, id))
	return id
}

// made reports whether the span is one of these.
func (i ids) made(span trace.SpanContext) bool {
	id := span.SpanID()
	return binary.BigEndian.Uint32(id[4:]) == i.sign(span.TraceID(), id)
}

// sign is the second half of an id.
func (i ids) sign(of trace.TraceID, id trace.SpanID) uint32 {
	type half struct {
		of trace.TraceID
		id [4]byte
	}
	return uint32(maphash.Comparable(i.seed, half{of, [4]byte(id[:4])})) //nolint:gosec // as many bits as there are
}
