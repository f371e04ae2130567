package compress

import (
	"bytes"
	"io"
	"runtime"
	"testing"
)

func TestACoderWithADictionaryHoldsNoMoreThanItTakesOfTheBudget(t *testing.T) {
	for _, size := range []int{4 << 10, MaxDictionary} {
		content := bytes.Repeat(event(1), size/len(event(1))+1)[:size]
		d, err := NewDictionary(content, DictionaryConfig{Match: "/*"})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []*codec{d.dcz, d.dcb} {
			for _, stream := range []bool{false, true} {
				const coders = 4
				before := heap()
				var all []coder
				var size int64
				for range coders {
					var w coder
					w, size = c.coder(stream)
					w.Reset(io.Discard)
					for i := range 1000 { // more than the windows of most
						if _, err := w.Write(event(i)); err != nil {
							t.Fatal(err)
						}
						if stream && i < 200 && w.Flush() != nil {
							t.Fatal("a flush failed")
						}
					}
					all = append(all, w)
				}
				held := (heap() - before) / coders
				t.Logf("%s with %d, stream %v: %d KiB of %d", c.name, len(content), stream, held>>10, size>>10)
				if held > size {
					t.Errorf("%s with %d, stream %v: a coder holds %d bytes, and takes %d", c.name, len(content), stream, held, size)
				}
				runtime.KeepAlive(all)
			}
		}
	}
}
