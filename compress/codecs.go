package compress

import "github.com/klauspost/compress/zstd"

// The levels are those after which the next one takes longer than what it saves
// takes to send, at 100 Mbit/s for speed and at 10 Mbit/s for size; those of
// streams are for parts of some hundred bytes, each flushed, and for memory. See
// docs/benchmarks.md. gzip finds nothing in parts below 128 bytes at its fast
// levels. The sizes are what a coder was seen to hold, and a test holds them so.
var (
	zstdFast = &codec{
		name: "zstd", body: zstdAt(zstd.SpeedFastest, 256<<10), stream: zstdAt(zstd.SpeedFastest, 64<<10),
		bodySize: 960 << 10, streamSize: 600 << 10,
	}
	zstdSmall = &codec{
		name: "zstd", body: zstdAt(zstd.SpeedDefault, 256<<10), stream: zstdAt(zstd.SpeedFastest, 64<<10),
		bodySize: 2176 << 10, streamSize: 600 << 10,
	}
	brotliFast = &codec{
		name: "br", body: brotliAt(2, 18), stream: brotliAt(2, 16),
		bodySize: 1408 << 10, streamSize: 480 << 10,
	}
	brotliSmall = &codec{
		name: "br", body: brotliAt(5, 18), stream: brotliAt(3, 16),
		bodySize: 2688 << 10, streamSize: 480 << 10,
	}
	gzipFast = &codec{
		name: "gzip", body: gzipAt(1), stream: gzipAt(7),
		bodySize: 896 << 10, streamSize: 1088 << 10,
	}
	gzipSmall = &codec{
		name: "gzip", body: gzipAt(6), stream: gzipAt(7),
		bodySize: 1152 << 10, streamSize: 1088 << 10,
	}
)

// The order of codings that a client weighs equally.
var (
	bySpeed = []*codec{zstdFast, brotliFast, gzipFast}
	bySize  = []*codec{brotliSmall, zstdSmall, gzipSmall}
)
