package compress

import "sync/atomic"

// Budget bounds the memory that coders hold at one time. Those of streams, which
// may live for hours, leave a quarter of it to those of bodies. Its methods may
// be called concurrently.
type Budget struct {
	limit   int64
	used    atomic.Int64
	refused atomic.Int64
}

// DefaultBudget is that of every [Config] without one: 64 MiB, of which streams
// take up to 48: 45 of them.
var DefaultBudget = NewBudget(64 << 20)

// NewBudget returns a budget of so many bytes.
func NewBudget(bytes int64) *Budget { return &Budget{limit: bytes} }

// take reports whether there was as much left.
func (b *Budget) take(n int64) bool { return b.takeOf(b.limit, n) }

// takeFor is take for a coder.
func (b *Budget) takeFor(stream bool, n int64) bool {
	if stream {
		return b.takeOf(b.limit-b.limit/4, n)
	}
	return b.takeOf(b.limit, n)
}

func (b *Budget) takeOf(limit, n int64) bool {
	if b.used.Add(n) <= limit {
		return true
	}
	b.used.Add(-n)
	b.refused.Add(1)
	return false
}

func (b *Budget) give(n int64) { b.used.Add(-n) }

// Limit returns how many bytes coders may hold.
func (b *Budget) Limit() int64 { return b.limit }

// Used returns how many bytes coders hold now.
func (b *Budget) Used() int64 { return b.used.Load() }

// Refused returns how many responses were not coded because the budget was used
// up.
func (b *Budget) Refused() int64 { return b.refused.Load() }
