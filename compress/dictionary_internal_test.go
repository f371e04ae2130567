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
				if held > size || held < size/2 {
					t.Errorf("%s with %d, stream %v: a coder holds %d bytes, and takes %d", c.name, len(content), stream, held, size)
				}
				runtime.KeepAlive(all)
			}
		}
	}
}

func TestAPatternIsMatchedByItsStars(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pattern, path string
		want          bool
	}{
		{"/topics*", "/topics/a/b", true},
		{"/topics*", "/topic", false},
		{"/a", "/a", true},
		{"/a", "/ab", false},
		{"/v1/*/x", "/v1/b/x", true},
		{"/v1/*/x", "/v1/x", false},
		{"/v1/*/*/x", "/v1/a/b/x", true},
		{"/:name", "/whatever", true},
	} {
		if matches(c.pattern, c.path) != c.want {
			t.Errorf("%s of %s is not %v", c.path, c.pattern, c.want)
		}
	}
}
