package compress

import "github.com/klauspost/compress/zstd"

// The levels are the cheapest of those after which the next one saves less on
// the wire at 100 Mbit/s (speed) or 10 Mbit/s (size) than it takes to compute;
// see docs/benchmarks.md. gzip matches nothing in parts below 128 bytes at its
// fast levels, so streams have a slower one.
var (
	zstdFast   = &codec{name: "zstd", body: zstdAt(zstd.SpeedFastest, 1<<20), stream: zstdAt(zstd.SpeedFastest, 64<<10)}
	zstdSmall  = &codec{name: "zstd", body: zstdAt(zstd.SpeedDefault, 1<<20), stream: zstdAt(zstd.SpeedDefault, 64<<10)}
	brotliFast = &codec{name: "br", body: brotliAt(2, 18), stream: brotliAt(2, 16)}
	brotli     = &codec{name: "br", body: brotliAt(5, 20), stream: brotliAt(4, 16)}
	gzipFast   = &codec{name: "gzip", body: gzipAt(1), stream: gzipAt(7)}
	gzipSmall  = &codec{name: "gzip", body: gzipAt(6), stream: gzipAt(7)}
)

// The order of codings that a client weighs equally.
var (
	bySpeed = []*codec{zstdFast, brotliFast, gzipFast}
	bySize  = []*codec{brotli, zstdSmall, gzipSmall}
)
