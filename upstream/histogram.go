package upstream

// Histogram is a distribution at one moment, as Prometheus counts it.
type Histogram struct {
	// Bounds are the upper bounds of the buckets, rising; the last bucket, which
	// has none, is not named.
	Bounds []float64 `json:"bounds"`
	// Counts are the observations in each bucket alone; one more than Bounds.
	Counts []uint64 `json:"counts"`
	Sum    float64  `json:"sum"`
	Count  uint64   `json:"count"`
}
