package compress

import (
	"strings"

	"github.com/klauspost/compress/zstd"
)

// The content codings, as HTTP names them.
const (
	zstdName   = "zstd"
	brotliName = "br"
	gzipName   = "gzip"
)

// codingList are those that a request may have; codingNames are the same for
// clients to read.
var (
	codingList  = []string{zstdName, brotliName, gzipName}
	codingNames = strings.Join(codingList, ", ")
)

// The levels are those after which the next one takes longer than what it saves
// takes to send, on most of the bodies of BenchmarkLevel, at 100 Mbit/s for
// speed and at 10 Mbit/s for size; those of streams are for parts of some hundred
// bytes, each flushed, and for memory: they see as far back as gzip, and lose
// nothing by it. gzip finds nothing in parts below 128 bytes at its fast levels.
// The sizes are what a coder was seen to hold, and a test holds them so.
var (
	zstdFast = &codec{
		name: zstdName, body: zstdAt(zstd.SpeedFastest, 256<<10), stream: zstdAt(zstd.SpeedFastest, 32<<10),
		bodySize: 960 << 10, streamSize: 544 << 10,
	}
	zstdSmall = &codec{
		name: zstdName, body: zstdAt(zstd.SpeedDefault, 256<<10), stream: zstdAt(zstd.SpeedFastest, 32<<10),
		bodySize: 2176 << 10, streamSize: 544 << 10,
	}
	brotliFast = &codec{
		name: brotliName, body: brotliAt(2, 18), stream: brotliAt(2, 15),
		bodySize: 1408 << 10, streamSize: 416 << 10,
	}
	brotliSmall = &codec{
		name: brotliName, body: brotliAt(5, 18), stream: brotliAt(3, 15),
		bodySize: 2688 << 10, streamSize: 416 << 10,
	}
	gzipFast = &codec{
		name: gzipName, body: gzipAt(1), stream: gzipAt(7),
		bodySize: 896 << 10, streamSize: 1088 << 10,
	}
	gzipSmall = &codec{
		name: gzipName, body: gzipAt(6), stream: gzipAt(7),
		bodySize: 1152 << 10, streamSize: 1088 << 10,
	}
)

// The order of codings that a client weighs equally.
var (
	bySpeed = []*codec{zstdFast, brotliFast, gzipFast}
	bySize  = []*codec{brotliSmall, zstdSmall, gzipSmall}
)
