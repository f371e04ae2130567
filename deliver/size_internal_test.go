package deliver

import (
	"testing"
	"unsafe"
)

func TestASessionIsSmall(t *testing.T) {
	t.Parallel()
	// The sizes in which Go's allocator gives memory.
	if size := unsafe.Sizeof(stream{}); size > 320 {
		t.Errorf("a stream has %d bytes", size)
	}
	if size := unsafe.Sizeof(socket{}); size > 352 {
		t.Errorf("a socket has %d bytes", size)
	}
}

func TestAChunkTellsHowMuchDataItHas(t *testing.T) {
	t.Parallel()
	for n := range 70_000 {
		if got := chunkData(len(appendChunk(nil, make([]byte, n)))); got != n {
			t.Fatalf("%d bytes are taken for %d", n, got)
		}
	}
}
