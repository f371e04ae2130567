package compress_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/fairlead-edge/fairlead/compress"
)

func Example() {
	api := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `["`+strings.Repeat("the same again, ", 500)+`"]`)
	})
	h := compress.New(compress.Config{Prefer: compress.Size}, api)

	res := answer(h, http.MethodGet, "Accept-Encoding", "gzip, br, zstd")
	body, _ := io.ReadAll(res.Body)
	fmt.Println(res.Header.Get("Content-Encoding"), res.Header.Get("Vary"), len(body) < 100)
	// Output: br Accept-Encoding true
}
