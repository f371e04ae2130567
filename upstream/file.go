package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"syscall"
	"time"
)

const (
	// fileValid is how long what a file says is used. To read it again costs
	// less than to notice reliably that it changed.
	fileValid = time.Second
	// maxFile is how many bytes it may have.
	maxFile = 1 << 20
)

// fileSource is a [Resolver] for the endpoints that the file at this path
// lists.
type fileSource string

// parseFile reads what follows file:.
func parseFile(s string) (Resolver, error) {
	if !strings.HasPrefix(s, "/") || strings.HasPrefix(s, "//") {
		return nil, errors.New("a file of endpoints is written file:/path, with an absolute path")
	}
	return fileSource(path.Clean(s)), nil
}

// Resolve implements [Resolver].
func (f fileSource) Resolve(ctx context.Context) ([]Endpoint, time.Duration, error) {
	if err := ctx.Err(); err != nil {
		return nil, 0, fmt.Errorf("upstream: file: %w", err)
	}
	text, err := f.read()
	if err != nil {
		return nil, 0, fmt.Errorf("upstream: file: %w", err)
	}
	endpoints, err := parseList(string(f), text)
	if err != nil {
		return nil, 0, fmt.Errorf("upstream: file: %w", err)
	}
	return endpoints, fileValid, nil
}

func (f fileSource) read() ([]byte, error) {
	// Without O_NONBLOCK a named pipe would hold us until somebody writes.
	file, err := os.OpenFile(string(f), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", string(f))
	}
	return io.ReadAll(io.LimitReader(file, maxFile+1))
}

// parseList reads the text of the file name, one endpoint a line.
func parseList(name string, text []byte) ([]Endpoint, error) {
	if len(text) > maxFile {
		return nil, fmt.Errorf("%s is longer than %d bytes; use several upstreams", name, maxFile)
	}
	var endpoints []Endpoint
	number := 0
	for line := range bytes.Lines(text) {
		number++
		s := strings.TrimSpace(string(line))
		if s == "" || s[0] == '#' {
			continue
		}
		if line[len(line)-1] != '\n' {
			return nil, fmt.Errorf("%s:%d: the last line does not end; put a newline there, so that it is known to be whole", name, number)
		}
		e, err := parseEndpoint(s)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, number, err)
		}
		endpoints = append(endpoints, e)
	}
	endpoints = sorted(endpoints)
	switch n := len(endpoints); {
	case n == 0:
		return nil, fmt.Errorf("%s names no endpoint; write one a line, like http://host:port", name)
	case n > MaxEndpoints:
		return nil, fmt.Errorf("%s names %d endpoints, and a pool uses at most %d; use several upstreams", name, n, MaxEndpoints)
	}
	return endpoints, nil
}
