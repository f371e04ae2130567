package compress

import "sync/atomic"

// Budget bounds the memory that coders hold at one time. Its methods may be
// called concurrently.
type Budget struct {
	limit   int64
	used    atomic.Int64
	refused atomic.Int64
}

// DefaultBudget is that of every [Config] without one: 64 MiB, some 110 streams.
var DefaultBudget = NewBudget(64 << 20)

// NewBudget returns a budget of so many bytes.
func NewBudget(bytes int64) *Budget { return &Budget{limit: bytes} }

// take reports whether there was as much left.
func (b *Budget) take(n int64) bool {
	if b.used.Add(n) <= b.limit {
		return true
	}
	b.used.Add(-n)
	b.refused.Add(1)
	return false
}

func (b *Budget) give(n int64) { b.used.Add(-n) }

// Used returns how many bytes coders hold now.
func (b *Budget) Used() int64 { return b.used.Load() }

// Refused returns how many responses were not coded because the budget was used
// up.
func (b *Budget) Refused() int64 { return b.refused.Load() }
